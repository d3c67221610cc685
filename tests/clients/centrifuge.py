"""The server to run against unmodified Python libraries of Centrifugo, both from PyPI: `centrifuge-python` in JSON and
in Protobuf, and `cent`, which calls the server's API.

Usage: python centrifuge.py SERVER

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import tempfile
import time

# The script has the name of the library that it imports.
sys.path.pop(0)

from cent import (  # noqa: E402
    BatchRequest,
    BroadcastRequest,
    CentApiResponseError,
    CentUnauthorizedError,
    ChannelsRequest,
    Client as Cent,
    Disconnect,
    DisconnectRequest,
    HistoryRemoveRequest,
    HistoryRequest,
    InfoRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    StreamPosition,
    SubscribeRequest,
    UnsubscribeRequest,
)
from centrifuge import (  # noqa: E402
    Client,
    ClientEventHandler,
    ReplyError,
    SubscriptionEventHandler,
)

PATIENCE = 30  # seconds, for one check
SECRET = b"0123456789abcdef0123456789abcdef"
KEY = "a-key-of-the-server-api"


def token(**claims):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"exp": int(time.time()) + 3600, **claims}
    signed = b".".join(part(json.dumps(it).encode()) for it in ({"alg": "HS256"}, claims))
    return (signed + b"." + part(hmac.new(SECRET, signed, hashlib.sha256).digest())).decode()


class Server:
    def __init__(self, folder, *arguments):
        self.files = {"secret": SECRET, "key": KEY.encode()}
        for name, content in self.files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        common = ["--listen", "127.0.0.1:0", "--centrifuge", "--presence", "--presence-delay", "0"]
        common += ["--jwt-secret-file", os.path.join(folder, "secret")]
        common += ["--centrifuge-key-file", os.path.join(folder, "key"), "--history", "1000"]
        command = [sys.argv[1], *common, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.host = re.search(r"127\.0\.0\.1:\d+", self.process.stdout.readline())[0]


class Events(ClientEventHandler):
    """Puts what a client is told into a queue, with its name."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def on_connected(self, ctx):
        await self.queue.put(("connected", ctx))

    async def on_disconnected(self, ctx):
        await self.queue.put(("disconnected", ctx))

    async def on_subscribed(self, ctx):
        await self.queue.put(("subscribed", ctx))

    async def on_unsubscribed(self, ctx):
        await self.queue.put(("unsubscribed", ctx))

    async def on_publication(self, ctx):
        await self.queue.put(("publication", ctx))

    async def next(self, name):
        while True:
            told, ctx = await asyncio.wait_for(self.queue.get(), PATIENCE)
            if told == name:
                return ctx


class SubEvents(SubscriptionEventHandler):
    on_subscribed, on_unsubscribed = Events.on_subscribed, Events.on_unsubscribed
    on_publication, next = Events.on_publication, Events.next

    def __init__(self):
        self.queue = asyncio.Queue()

    async def on_join(self, ctx):
        await self.queue.put(("join", ctx))

    async def on_leave(self, ctx):
        await self.queue.put(("leave", ctx))

    async def on_error(self, ctx):
        await self.queue.put(("error", ctx))


class Person:
    """A client of a server, in one of the two encodings."""

    def __init__(self, server, protobuf, **claims):
        self.protobuf, self.events = protobuf, Events()
        url = f"ws://{server.host}/connection/websocket"
        made = token(**claims) if claims else ""
        self.client = Client(
            url, self.events, token=made, use_protobuf=protobuf, min_reconnect_delay=0.02, proxy=None, timeout=20
        )

    async def __aenter__(self):
        await self.client.connect()
        self.connected = await self.events.next("connected")
        return self

    async def __aexit__(self, *_):
        await self.client.disconnect()

    async def subscribes(self, channel, **options):
        events = SubEvents()
        sub = self.client.new_subscription(channel, events, **options)
        await sub.subscribe()
        return sub, events

    def data(self, value):
        return json.dumps(value).encode() if self.protobuf else value

    def value(self, data):
        return json.loads(data) if self.protobuf else data

    def cut(self):
        self.client._conn.transport.abort()


def equal(left, right):
    assert left == right, f"{left!r} is not {right!r}"


async def refusal(call):
    try:
        await call
    except ReplyError as error:
        return error.code
    return 0


def refused(call):
    try:
        call()
    except CentApiResponseError as error:
        return error.code
    return 0


async def publishes_and_recovers(server, cent, protobuf):
    async with Person(server, protobuf, sub="ada", subscribe=["*"], publish=["*"]) as ada:
        channel = f"cut-{protobuf}"
        sub, events = await ada.subscribes(channel)
        fresh = await events.next("subscribed")
        equal((fresh.recoverable, fresh.was_recovering), (True, False))
        await sub.publish(ada.data({"n": 0}))
        first = (await events.next("publication")).pub
        equal((ada.value(first.data), first.offset), ({"n": 0}, 1))
        ada.cut()
        for n in range(1, 20):
            cent.publish(PublishRequest(channel=channel, data={"n": n}))
        told = await events.next("subscribed")
        equal((told.was_recovering, told.recovered), (True, True))
        got = [(await events.next("publication")).pub for _ in range(19)]
        equal([(ada.value(it.data), it.offset) for it in got], [({"n": n}, n + 1) for n in range(1, 20)])
        assert events.queue.empty()


async def knows_who_is_there(server, cent, protobuf):
    channel = f"room-{protobuf}"
    claims = {"subscribe": ["*", f"$presence/{channel}"]}
    async with Person(server, protobuf, sub="ada", info={"desk": 1}, **claims) as ada:
        sub, events = await ada.subscribes(channel, join_leave=True)
        equal((await events.next("join")).info.user, "ada")
        async with Person(server, not protobuf, sub="ben", **claims) as ben:
            _, others = await ben.subscribes(channel)
            await others.next("subscribed")
            equal((await events.next("join")).info.client, ben.connected.client)
            there = (await sub.presence()).clients
            equal({it.user for it in there.values()}, {"ada", "ben"})
            equal(ada.value(there[ada.connected.client].conn_info), {"desk": 1})
            stats = await sub.presence_stats()
            equal((stats.num_clients, stats.num_users), (2, 2))
            told = cent.presence(PresenceRequest(channel=channel)).presence
            equal({it.user for it in told.values()}, {"ada", "ben"})
            counted = cent.presence_stats(PresenceStatsRequest(channel=channel))
            equal((counted.num_clients, counted.num_users), (2, 2))
        equal((await events.next("leave")).info.user, "ben")


async def reads_history(server, cent, protobuf):
    async with Person(server, protobuf, sub="ada", subscribe=["*"]) as ada:
        channel = f"history-{protobuf}"
        for n in range(5):
            cent.publish(PublishRequest(channel=channel, data=n))
        sub, events = await ada.subscribes(channel)
        await events.next("subscribed")
        all_of = await sub.history(limit=-1)
        equal([ada.value(it.data) for it in all_of.publications], [0, 1, 2, 3, 4])
        latest = await sub.history(limit=2, reverse=True)
        equal([it.offset for it in latest.publications], [5, 4])
        told = cent.history(HistoryRequest(channel=channel, limit=2, since=StreamPosition(offset=1, epoch=latest.epoch)))
        equal(([it.data for it in told.publications], told.offset, told.epoch), ([1, 2], 5, latest.epoch))
        cent.history_remove(HistoryRemoveRequest(channel=channel))
        equal((await sub.history(limit=-1)).publications, [])


async def is_refused(server, cent, protobuf):
    async with Person(server, protobuf, sub="ada", subscribe=["a"]) as ada:
        _, events = await ada.subscribes("b")
        equal((await events.next("unsubscribed")).code, 103)
        equal(await refusal(ada.client.rpc("x", ada.data(1))), 108)
        equal(await refusal(ada.client.publish("a", ada.data(1))), 103)
        equal(await refusal(ada.client.history("b")), 103)
    stranger = Person(server, protobuf)
    await stranger.client.connect()
    equal((await stranger.events.next("disconnected")).code, 3501)


async def subscribes_for_it(server, cent, protobuf):
    channel = f"own-{protobuf}"
    async with Person(server, protobuf, sub=f"user-{protobuf}", channels=[channel]) as ada:
        user = f"user-{protobuf}"
        equal((await ada.events.next("subscribed")).channel, channel)
        answers = cent.broadcast(BroadcastRequest(channels=[channel, "others"], data={"a": 1})).responses
        equal(answers[0].result.offset, 1)
        equal(ada.value((await ada.events.next("publication")).pub.data), {"a": 1})
        ada.cut()
        cent.publish(PublishRequest(channel=channel, data={}, b64data=base64.b64encode(b'{"a":2}').decode()))
        equal((await ada.events.next("subscribed")).recovered, True)
        equal(ada.value((await ada.events.next("publication")).pub.data), {"a": 2})
        cent.unsubscribe(UnsubscribeRequest(user=user, channel=channel))
        equal((await ada.events.next("unsubscribed")).channel, channel)
        cent.subscribe(SubscribeRequest(user=user, channel="later"))
        equal((await ada.events.next("subscribed")).channel, "later")
        assert "later" in cent.channels(ChannelsRequest(pattern="lat*")).channels
        cent.refresh(RefreshRequest(user=user, expire_at=int(time.time()) + 60))
        gone = Disconnect(code=4500, reason="gone")
        cent.disconnect(DisconnectRequest(user=user, disconnect=gone))
        told = await ada.events.next("disconnected")
        equal((told.code, told.reason), (4500, "gone"))


async def calls_the_api(server, cent, _):
    equal(cent.info(InfoRequest()).nodes[0].name, "pushloop")
    once = [cent.publish(PublishRequest(channel="once", data=1, idempotency_key="k")).offset for _ in range(2)]
    equal(once, [1, 1])
    requests = [PublishRequest(channel="batch", data=n) for n in range(3)] + [InfoRequest()]
    replies = cent.batch(BatchRequest(requests=requests)).replies
    equal([it.offset for it in replies[:3]], [1, 2, 3])
    equal(refused(lambda: cent.publish(PublishRequest(channel="a", data=1, tags={"a": "b"}))), 108)
    equal(refused(lambda: cent.publish(PublishRequest(channel="x" * 256, data=1))), 107)
    equal(refused(lambda: cent.publish(PublishRequest(channel="$stats", data=1))), 103)
    try:
        Cent(f"http://{server.host}/api", "another-key-of-the-api").info(InfoRequest())
        raise AssertionError("another key was taken")
    except CentUnauthorizedError:
        pass


CHECKS = [publishes_and_recovers, knows_who_is_there, reads_history, is_refused, subscribes_for_it]


async def check(name, run, *what):
    try:
        await asyncio.wait_for(run(*what), PATIENCE)
        print(f"ok {name}")
        return True
    except Exception as error:
        print(f"FAIL {name}: {type(error).__name__} {str(error).splitlines()[:1]}")
        return False


async def main():
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        cent = Cent(f"http://{server.host}/api", KEY)
        try:
            passed = [await check("cent calls the API", calls_the_api, server, cent, False)]
            for protobuf in (False, True):
                for run in CHECKS:
                    name = f"{'Protobuf' if protobuf else 'JSON'}: a client {run.__name__.replace('_', ' ')}"
                    passed.append(await check(name, run, server, cent, protobuf))
        finally:
            server.process.kill()
    sys.exit(0 if all(passed) else 1)


asyncio.run(main())
