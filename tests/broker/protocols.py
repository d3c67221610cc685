"""Clients of Pusher and of Centrifugo, the APIs for their backends, and servers that speak both."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from contextlib import asynccontextmanager

from world import PATIENCE, closes_at_once

SECRET = b"a secret of the application, and of tokens"
API_KEY = "a-key-of-the-backend-that-is-long-enough"


def options(world):
    """Those of servers that speak both protocols."""
    folder = world.folder()
    (folder / "secret").write_bytes(SECRET)
    (folder / "key").write_text(API_KEY)
    secrets = ("--pusher-app", f"1:app-key:{folder / 'secret'}", "--jwt-secret-file", str(folder / "secret"))
    return ("--history", "10000", *secrets, "--centrifuge", "--centrifuge-key-file", str(folder / "key"))


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(user="ada", **more):
    claims = {"sub": user, "exp": int(time.time()) + 600, "subscribe": ["*"], "publish": ["*"], **more}
    parts = b".".join(encoded(json.dumps(it).encode()) for it in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (parts + b"." + encoded(hmac.new(SECRET, parts, hashlib.sha256).digest())).decode()


def sign(*parts):
    return hmac.new(SECRET, ":".join(parts).encode(), hashlib.sha256).hexdigest()


class Pusher:
    """A client of Pusher's."""

    def __init__(self, peer, socket):
        self.peer, self.socket = peer, socket

    async def says(self, event, data, **more):
        await self.peer.send(json.dumps({"event": event, "data": data, **more}))

    async def next(self, event=None):
        told = json.loads(await asyncio.wait_for(self.peer.recv(), PATIENCE))
        assert event in (None, told["event"]), f"{event}, not {told}"
        return told

    async def asks(self, channel, **more):
        signed = channel.startswith(("private-", "presence-"))
        text = [self.socket, channel, *([more["channel_data"]] if "channel_data" in more else [])]
        auth = {"auth": f"app-key:{sign(*text)}"} if signed else {}
        await self.says("pusher:subscribe", {"channel": channel, **auth, **more})

    async def subscribes(self, channel):
        await self.asks(channel)
        await self.next("pusher_internal:subscription_succeeded")

    async def enters(self, channel, user, info=None):
        """Subscribes to a channel with members; gives these with their infos."""
        data = {"user_id": user} if info is None else {"user_id": user, "user_info": info}
        await self.asks(channel, channel_data=json.dumps(data))
        told = json.loads((await self.next("pusher_internal:subscription_succeeded"))["data"])["presence"]
        assert told["count"] == len(told["ids"]) and sorted(told["ids"]) == sorted(told["hash"]), told
        return told["hash"]

    async def hears(self, change, user):
        """That a member comes or goes, and nothing before."""
        told = await self.next(f"pusher_internal:member_{change}")
        assert json.loads(told["data"])["user_id"] == user, told
        return told

    async def comes_back(self):
        """It is closed so that it comes back; gives why."""
        told = await self.next("pusher:error")
        assert told["data"]["code"] == 4100, told
        await closes_at_once(self.peer, 4100)
        return told["data"]["message"]

    async def signs_in(self, user):
        data = json.dumps({"id": user})
        await self.says("pusher:signin", {"auth": f"app-key:{sign(self.socket, '', 'user', '', data)}", "user_data": data})
        await self.next("pusher:signin_success")

    async def has(self, channel, event, data):
        told = await self.next(event)
        assert (told["channel"], told["data"]) == (channel, data), told


@asynccontextmanager
async def pusher(node):
    async with node.connect("/app/app-key?protocol=7") as peer:
        told = json.loads(await asyncio.wait_for(peer.recv(), PATIENCE))
        yield Pusher(peer, json.loads(told["data"])["socket_id"])


async def call(world, node, method, path, body=None, **query):
    """Pusher's API, over a connection of its own: of any loop."""
    text = json.dumps(body).encode() if body is not None else b""
    query |= {"auth_key": "app-key", "auth_timestamp": str(int(time.time())), "auth_version": "1.0"}
    if text:
        query["body_md5"] = hashlib.md5(text).hexdigest()
    pairs = "&".join(f"{name}={value}" for name, value in sorted(query.items()))
    line = f"{method}\n/apps/1{path}\n{pairs}".encode()
    signature = hmac.new(SECRET, line, hashlib.sha256).hexdigest()
    whole = f"/apps/1{path}?{pairs}&auth_signature={signature}"
    return await world.ask(node, method, whole, text or None, Content_Type="application/json", Connection="close")


async def trigger(world, node, channel, data, **more):
    body = {"name": "news", "channel": channel, "data": data, **more}
    assert await call(world, node, "POST", "/events", body) == (200, "{}")


class Centrifuge:
    """A client of Centrifugo's, in JSON."""

    def __init__(self, peer):
        self.peer, self.latest, self.told = peer, 0, []

    async def next(self):
        while not self.told:
            frame = await asyncio.wait_for(self.peer.recv(), PATIENCE)
            self.told += [json.loads(line) for line in frame.splitlines() if line and line != "{}"]
        return self.told.pop(0)

    async def sends(self, *commands):
        """All in one message; gives their ids."""
        first = self.latest + 1
        self.latest += len(commands)
        lines = [json.dumps({"id": first + nth, **it}) for nth, it in enumerate(commands)]
        await self.peer.send("\n".join(lines))
        return list(range(first, self.latest + 1))

    async def asks(self, **command):
        """The answer, which comes before anything else does."""
        [number] = await self.sends(command)
        told = await self.next()
        assert told.get("id") == number, told
        return told

    async def subscribes(self, channel, **more):
        return (await self.asks(subscribe={"channel": channel, **more}))["subscribe"]

    async def has(self, channel, data):
        push = (await self.next())["push"]
        assert (push["channel"], push["pub"]["data"]) == (channel, data), push
        return push["pub"]["offset"]


@asynccontextmanager
async def centrifuge(node, *user, **claims):
    async with node.connect("/connection/websocket") as peer:
        client = Centrifuge(peer)
        client.id = (await client.asks(connect={"token": token(*user, **claims)}))["connect"]["client"]
        yield client


@asynccontextmanager
async def streamed(world, node, **connect):
    """A client of Centrifugo's that is told over a stream: gives what it is told next."""
    command = json.dumps({"id": 1, "connect": {"token": token(), **connect}})
    url, fields = f"http://127.0.0.1:{node.port}/connection/http_stream", {"Content-Type": "application/json"}
    async with world.http.post(url, data=command, headers=fields) as stream:

        async def next():
            while True:
                line = await asyncio.wait_for(stream.content.readline(), PATIENCE)
                if line.strip() not in (b"", b"{}"):
                    return json.loads(line)

        yield next


async def api(world, node, method, **params):
    """The API of Centrifugo."""
    status, text = await world.ask(node, "POST", f"/api/{method}", json.dumps(params), X_API_Key=API_KEY)
    assert status == 200, (status, text)
    return json.loads(text)
