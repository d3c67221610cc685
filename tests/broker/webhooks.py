"""What backends of Pusher's applications are told by several nodes: each event by one of them."""

import asyncio
import hashlib
import hmac
import json
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web
from channels import CHANNEL
from members import DELAY, SWEPT
from protocols import SECRET, options, pusher
from world import FULL, PATIENCE, Node, free_port


class Backend:
    """Takes what is told, if it is signed."""

    def __init__(self, port):
        self.port, self.events = port, []

    async def take(self, request):
        body = await request.read()
        code = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        assert request.headers["X-Pusher-Signature"] == code and request.headers["X-Pusher-Key"] == "app-key"
        self.events += json.loads(body)["events"]
        return web.Response(status=204)

    def told(self, name, channel=CHANNEL):
        """Of whom, in the order in which it was told."""
        all_ = [it for it in self.events if (it["name"], it["channel"]) == (name, channel)]
        return [it.get("user_id", it.get("event")) for it in all_]

    def names(self, channel=CHANNEL):
        return [it["name"] for it in self.events if it["channel"] == channel]


    @asynccontextmanager
    async def serves(self):
        app = web.Application()
        app.router.add_post("/", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        try:
            yield
        finally:
            await runner.cleanup()


@asynccontextmanager
async def told(world, nodes=2, more=()):
    backend = Backend(free_port())
    webhook = ("--pusher-webhook", f"1:http://127.0.0.1:{backend.port}/")
    given = (*options(world), "--presence-delay", str(DELAY), *webhook, *more)
    async with backend.serves():
        yield backend, await world.begin(nodes, options=given), given


async def hears(world, backend, expected, seconds=PATIENCE, channel=CHANNEL):
    """Waits for as many events of a channel, and a moment more: they are these."""

    async def is_so():
        return len(backend.names(channel)) >= len(expected)

    try:
        await world.until(is_so, seconds)
        await asyncio.sleep(0.5)
    finally:
        assert sorted(backend.names(channel)) == sorted(expected), backend.events


async def each_event_is_told_by_one_node(world):
    async with told(world) as (backend, (a, b), _):
        async with pusher(a) as one, pusher(b) as two:
            await one.enters(CHANNEL, "ada")
            # There is no order between what two nodes tell.
            await hears(world, backend, ["channel_occupied", "member_added"])
            assert backend.names() == ["channel_occupied", "member_added"], backend.events
            await two.enters(CHANNEL, "ada")
            await two.says("client-x", 1, channel=CHANNEL)
            await one.next("client-x")
            async with pusher(b) as three:
                await three.enters(CHANNEL, "ben")
                for it in (one, two):
                    await it.hears("added", "ben")
                for it in (one, two, three):
                    await it.subscribes("public")
                await three.subscribes("cache-c")
                await three.next("pusher:cache_miss")
            first = ["channel_occupied", "member_added", "client_event", "member_added"]
            await hears(world, backend, [*first, "member_removed"])
            assert backend.told("member_added") == ["ada", "ben"] and backend.told("member_removed") == ["ben"]
            await hears(world, backend, ["channel_occupied"], channel="public")
            await hears(world, backend, ["channel_occupied", "cache_miss", "channel_vacated"], channel="cache-c")
            # One of both is gone: the channel has subscribers still.
            await one.says("pusher:unsubscribe", {"channel": "public"})
        expected = [*first, "member_removed", "member_removed", "channel_vacated"]
        await hears(world, backend, expected)
        assert backend.told("member_removed") == ["ben", "ada"], backend.events
        await hears(world, backend, ["channel_occupied", "channel_vacated"], channel="public")
        # One that is back in time, at the other node, has not left.
        backend.events.clear()
        async with pusher(a) as one:
            await one.enters(CHANNEL, "ada")
        async with pusher(b) as two:
            await two.enters(CHANNEL, "ada")
            await asyncio.sleep(2 * DELAY)
            await hears(world, backend, ["channel_occupied", "member_added"])


async def what_ends_with_a_node_that_is_killed_is_told_by_another(world):
    async with told(world, 3) as (backend, (a, b, c), _):
        count = 40 if FULL else 15
        async with AsyncExitStack() as peers:
            for nth in range(count):
                it = await peers.enter_async_context(pusher(a))
                await it.enters(CHANNEL, f"u{nth}")
                await it.subscribes(f"c{nth}")
            both = await peers.enter_async_context(pusher(b))
            await both.enters(CHANNEL, "u0")
            await both.subscribes("c0")
            await hears(world, backend, ["channel_occupied", *count * ["member_added"]])
            a.process.kill()
            a.process.wait(PATIENCE)
            gone = (count - 1) * ["member_removed"]
            await hears(world, backend, ["channel_occupied", *count * ["member_added"], *gone], SWEPT)
            assert sorted(backend.told("member_removed")) == sorted(f"u{nth}" for nth in range(1, count))
            for nth in range(1, count):
                await hears(world, backend, ["channel_occupied", "channel_vacated"], channel=f"c{nth}")
            await hears(world, backend, ["channel_occupied"], channel="c0")


async def what_ends_with_the_last_node_is_told_by_the_next(world):
    async with told(world, 1) as (backend, (a,), given):
        async with pusher(a) as one:
            await one.enters(CHANNEL, "ada")
            await one.subscribes("public")
            await hears(world, backend, ["channel_occupied"], channel="public")
            await hears(world, backend, ["channel_occupied", "member_added"])
            a.process.terminate()
            a.process.wait(PATIENCE)
        assert backend.names() == ["channel_occupied", "member_added"], backend.events
        b = Node(world.server, world.redis, given)
        world.nodes.append(b)
        await world.ready(b)
        expected = ["channel_occupied", "member_added", "member_removed", "channel_vacated"]
        # Nobody renewed a lease for a while, so that all get another one's time.
        await hears(world, backend, expected, 2 * SWEPT)
        await hears(world, backend, ["channel_occupied", "channel_vacated"], channel="public")


async def what_comes_and_goes_while_the_broker_is_cut_off_is_told_once(world):
    async with told(world) as (backend, nodes, _):
        async with AsyncExitStack() as peers:
            for nth in range(10):
                it = await peers.enter_async_context(pusher(nodes[nth % 2]))
                await it.enters(CHANNEL, f"u{nth}")
            first = ["channel_occupied", *10 * ["member_added"]]
            await hears(world, backend, first)
            world.redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            world.redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
            for node in nodes:
                await world.ready(node)
            # Nodes tell all of theirs again, under other names.
            await asyncio.sleep(8)
            await hears(world, backend, first)
        await hears(world, backend, [*first, *10 * ["member_removed"], "channel_vacated"])


CHECKS = [
    each_event_is_told_by_one_node,
    what_ends_with_a_node_that_is_killed_is_told_by_another,
    what_ends_with_the_last_node_is_told_by_the_next,
    what_comes_and_goes_while_the_broker_is_cut_off_is_told_once,
]
