"""What a backend has done to clients wherever they are: it asks one node, and all do it."""

import asyncio
import json

from protocols import api, call, centrifuge, options, pusher, token
from world import closes


async def a_user_is_closed(world, node, own, other):
    """All connections of a user are, and that of another one stays."""
    for it in own:
        await it.signs_in("ada")
    await other.signs_in("ben")
    assert await call(world, node, "POST", "/users/ada/terminate_connections", {}) == (200, "{}")
    for it in own:
        await closes(it.peer, 4009)
    await other.says("pusher:ping", {})
    await other.next("pusher:pong")


async def connections_of_a_user_are_closed_at_all_nodes(world):
    a, b = await world.begin(options=options(world))
    async with pusher(a) as one, pusher(b) as two, pusher(b) as other:
        await a_user_is_closed(world, a, (one, two), other)


async def clients_are_unsubscribed_and_closed_at_all_nodes(world):
    a, b = nodes = await world.begin(options=options(world))
    async with centrifuge(a, "ada") as one, centrifuge(b, "ada") as two, centrifuge(b, "ada") as three, centrifuge(b, "ben") as other:
        for it in (one, two, three, other):
            for channel in ("x", "y"):
                await it.subscribes(channel)
        for nth, node in enumerate(nodes):
            channel = "xy"[nth]
            assert await api(world, node, "unsubscribe", user="ada", channel=channel) == {"result": {}}
            for it in (one, two, three):
                push = (await it.next())["push"]
                assert push["channel"] == channel and push["unsubscribe"]["code"] == 2000, push
        batch = {"commands": [{"publish": {"channel": "x", "data": 1}}, {"disconnect": {"user": "ada", "client": two.id, "disconnect": {"code": 4321, "reason": "out"}}}]}
        told = (await api(world, a, "batch", **batch))["replies"]
        assert told[0]["publish"]["offset"] and told[1] == {"disconnect": {}}, told
        await closes(two.peer, 4321)
        assert (await api(world, a, "disconnect", user="ada", disconnect={"code": 1}))["error"]["code"] == 107
        assert await api(world, a, "disconnect", user="ada", whitelist=[three.id]) == {"result": {}}
        await closes(one.peer, 3503)
        assert (await three.asks(ping={}))["id"]
        assert await api(world, a, "refresh", user="ada", expired=True) == {"result": {}}
        await closes(three.peer, 3005)
        await other.has("x", 1)
        assert (await other.asks(ping={}))["id"]


async def a_subscription_that_waits_does_not_begin_once_a_backend_has_ended_it(world):
    a, b = await world.begin(options=options(world))
    async with centrifuge(a, "ada") as one, centrifuge(a, "ben") as two:
        world.redis.pause()
        channels = ("x", "kept", "y")
        numbers = {}
        for it in (one, two):
            subscribes = ({"subscribe": {"channel": name}} for name in channels)
            first, *numbers[it] = await it.sends({"ping": {}}, *subscribes, {"ping": {}})
            assert (await it.next())["id"] == first
        # One ends the first of those that wait, and the others go on; one ends all.
        asked = [asyncio.create_task(api(world, a, "unsubscribe", user=user, channel=name)) for user, name in (("ada", "x"), ("ben", ""))]
        for it, ended in ((one, channels[:1]), (two, channels)):
            for number, name in zip(numbers[it], ended):
                push = (await it.next())["push"]
                assert push["channel"] == name and push["unsubscribe"]["code"] == 2000, push
                told = await it.next()
                assert (told["id"], told["error"]["code"]) == (number, 103), told
        # What is behind them has nothing left to wait for.
        assert (await two.next())["id"] == numbers[two][-1]
        world.redis.go_on()
        assert await asyncio.gather(*asked) == [{"result": {}}] * 2
        for number, answer in zip(numbers[one][1:], ("subscribe", "subscribe", "ping")):
            told = await one.next()
            assert told["id"] == number and answer in told, told
        for name in channels:
            await api(world, b, "publish", channel=name, data=1)
        await one.has("kept", 1)
        await one.has("y", 1)
        # They may be asked for again.
        await two.subscribes("x")
        await api(world, b, "publish", channel="x", data=2)
        await two.has("x", 2)


async def nobody_but_a_node_gives_orders(world):
    a, b = await world.begin(options=options(world))
    order = json.dumps({"disconnect": {"user": "ada", "client": "", "but": [], "code": None, "reason": ""}})
    async with centrifuge(b, "ada", publish=["*", "\x01*"]) as one:
        status, text = await world.ask(a, "POST", "/%01orders", order, Authorization=f"Bearer {token(publish=['*', chr(1) + '*'])}")
        assert status == 400 and "control" in text, (status, text)
        assert (await api(world, a, "publish", channel="\x01orders", data=json.loads(order)))["error"]["code"] == 107
        assert (await one.asks(publish={"channel": "\x01orders", "data": 1}))["error"]["code"] == 107
        assert (await one.asks(subscribe={"channel": "\x01orders"}))["error"]["code"] == 107
        body = {"name": "n", "channel": "\x01orders", "data": order}
        assert (await call(world, a, "POST", "/events", body))[0] == 400
        # What is none is counted.
        world.redis.ask("PUBLISH", "pushloop:news:{\x01orders}", "1 1 1 t 1 {}")
        assert (await one.asks(ping={}))["id"]
        world.redis.kill()

        async def is_away():
            return (await world.ask(a, "GET", "/readyz"))[0] == 503

        await world.until(is_away)
        # It is done here, and not elsewhere.
        status, text = await call(world, a, "POST", "/users/ada/terminate_connections", {})
        assert status in (503, 504), (status, text)
        assert (await api(world, a, "disconnect", user="eve"))["error"]["code"] in (111, 100)
        assert (await one.asks(ping={}))["id"]
        world.redis.start()


CHECKS = [
    connections_of_a_user_are_closed_at_all_nodes,
    clients_are_unsubscribed_and_closed_at_all_nodes,
    a_subscription_that_waits_does_not_begin_once_a_backend_has_ended_it,
    nobody_but_a_node_gives_orders,
]
