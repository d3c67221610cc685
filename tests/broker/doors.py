"""Clients of Pusher and of Centrifugo at servers that share a Redis: what one publishes at one, those at the other get."""

import asyncio
import json
import time

from protocols import Centrifuge, api, call, centrifuge, options, pusher, streamed, token, trigger
from world import FULL, closes


async def clients_of_pusher_share_channels(world):
    a, b = await world.begin(options=options(world))
    async with pusher(a) as one, pusher(b) as two:
        channels = ["public", "private-p", "private-encrypted-e", "cache-c", "private-cache-c"]
        for channel in channels:
            await one.subscribes(channel)
            if "cache" in channel:
                await one.next("pusher:cache_miss")
        await one.signs_in("ada")
        await one.subscribes("#server-to-user-ada")
        for nth, channel in enumerate([*channels, "#server-to-user-ada"]):
            await trigger(world, b, channel, f"{nth}")
            await one.has(channel, "news", f"{nth}")
        batch = [{"name": "news", "channel": channel, "data": channel} for channel in channels[:2]]
        assert await call(world, b, "POST", "/batch_events", {"batch": batch}) == (200, "{}")
        for channel in channels[:2]:
            await one.has(channel, "news", channel)
        await world.publish(b, "/public", "plain", Authorization=f"Bearer {token()}")
        await one.has("public", "message", '"plain"')
        # The latest event, of another node.
        for channel, data in (("cache-c", "3"), ("private-cache-c", "4")):
            await two.subscribes(channel)
            await two.has(channel, "news", data)
        # What clients send.
        await two.subscribes("private-p")
        await two.says("client-x", {"n": 1}, channel="private-p")
        await one.has("private-p", "client-x", {"n": 1})
        # Asked where nobody has it.
        await trigger(world, a, "cache-other", "kept")
        status, text = await call(world, b, "GET", "/channels/cache-other", info="cache")
        assert status == 200 and json.loads(text)["cache"] == {"data": "kept"}, text


async def an_event_is_not_for_its_sender_on_whatever_node(world):
    a, b = await world.begin(options=options(world))
    async with pusher(a) as one, pusher(b) as two:
        first, second = [it.socket.split(".") for it in (one, two)]
        assert first[0] != second[0] and first[1] == second[1], f"{one.socket} and {two.socket}"
        for it in (one, two):
            await it.subscribes("private-p")
        for nth, node in enumerate([a, b]):
            for sender, other in ((one, two), (two, one)):
                await trigger(world, node, "private-p", f"{nth}", socket_id=sender.socket)
                await other.has("private-p", "news", f"{nth}")
        await one.says("client-x", "of one", channel="private-p")
        await two.has("private-p", "client-x", "of one")
        # What was missed on the way is not for it either.
        killed = int(world.redis.ask("CLIENT", "KILL", "TYPE", "pubsub"))
        assert killed == 2, killed
        await trigger(world, b, "private-p", "missed", socket_id=one.socket)
        await trigger(world, b, "private-p", "for all")
        await two.has("private-p", "news", "missed")
        for it in (one, two):
            await it.has("private-p", "news", "for all")


async def clients_of_centrifugo_share_channels(world):
    a, b = await world.begin(options=options(world))
    async with centrifuge(a) as one, centrifuge(b) as two:
        begun = await one.subscribes("t")
        assert begun["recoverable"] and begun["epoch"], begun
        assert (await two.asks(publish={"channel": "t", "data": {"n": 1}}))["publish"] == {}
        told = await api(world, b, "publish", channel="t", data=2)
        assert told["result"] == {"offset": 2, "epoch": begun["epoch"]}, told
        told = await api(world, b, "broadcast", channels=["t", "u"], data=3)
        assert [it["result"]["offset"] for it in told["result"]["responses"]] == [3, 1], told
        told = await api(world, b, "batch", commands=[{"publish": {"channel": "t", "data": 4}}, {"info": {}}])
        assert told["replies"][0]["publish"]["offset"] == 4 and "info" in told["replies"][1], told
        await world.publish(b, "/t", "five", Authorization=f"Bearer {token()}")
        for offset, data in enumerate([{"n": 1}, 2, 3, 4, "five"], 1):
            assert await one.has("t", data) == offset
        # What is kept, asked where nobody subscribes, in three ways.
        history = (await two.asks(history={"channel": "t", "limit": 10}))["history"]
        assert [it["data"] for it in history["publications"]] == [{"n": 1}, 2, 3, 4, "five"], history
        history = (await api(world, b, "history", channel="u", limit=10))["result"]
        assert (history["offset"], history["publications"][0]["data"]) == (1, 3), history
        assert (await api(world, b, "history_remove", channel="t"))["error"]["code"] == 108
        # Publications of one and of the other are in one order.
        await two.subscribes("t")
        for nth in range(20):
            await (one, two)[nth % 2].sends({"publish": {"channel": "t", "data": nth}})
        orders = []
        for it in (one, two):
            had, answers = [], 0
            while len(had) < 20 or answers < 10:
                told = await it.next()
                if "push" in told:
                    had.append((told["push"]["pub"]["offset"], told["push"]["pub"]["data"]))
                else:
                    assert told["publish"] == {}, told
                    answers += 1
            orders.append(had)
        assert orders[0] == orders[1] and [it[0] for it in orders[0]] == list(range(6, 26)), orders


async def commands_of_one_client_are_carried_out_in_their_order(world):
    a, b = await world.begin(options=options(world))
    async with centrifuge(a) as one, centrifuge(b) as two:
        for nth in range(40):
            name = f"order/{nth}"
            commands = [
                {"subscribe": {"channel": name}},
                {"publish": {"channel": name, "data": 1}},
                {"publish": {"channel": name, "data": 2}},
                {"history": {"channel": name, "limit": 10}},
                {"unsubscribe": {"channel": name}},
                {"subscribe": {"channel": name}},
                {"ping": {}},
            ]
            numbers, answers = await one.sends(*commands), []
            while len(answers) < len(commands):
                told = await one.next()
                if "push" not in told:
                    answers.append(told)
            assert [it["id"] for it in answers] == numbers, answers
            assert [it["data"] for it in answers[3]["history"]["publications"]] == [1, 2], answers
            assert answers[5]["subscribe"]["offset"] == 2, answers
            # An answer of a backend's is followed by a history that has it.
            await api(world, b, "publish", channel=name, data=3)
            kept = (await api(world, b, "history", channel=name, limit=10))["result"]["publications"]
            assert [it["data"] for it in kept] == [1, 2, 3], kept
            await one.has(name, 3)
        # Those that wait for a topic wait together.
        numbers = await two.sends(*({"subscribe": {"channel": f"many/{nth}"}} for nth in range(100)))
        assert [(await two.next())["id"] for _ in numbers] == numbers
        await world.publish(a, "/many/99", "x", Authorization=f"Bearer {token()}")
        await two.has("many/99", "x")
    async with pusher(a) as one:
        # Fewer than a client may send in a second.
        for nth in range(8):
            channel = f"private-{nth}"
            await one.asks(channel)
            await one.asks(channel)
            await one.says("client-x", nth, channel=channel)
            await one.says("pusher:unsubscribe", {"channel": channel})
            await one.says("client-x", nth, channel=channel)
            told = [await one.next() for _ in range(3)]
            assert [it["event"] for it in told] == [
                "pusher_internal:subscription_succeeded", "pusher:error", "pusher:error",
            ], told
            assert "Existing" in told[1]["data"]["message"] and "subscribe" in told[2]["data"]["message"], told


async def what_is_published_once_a_subscription_is_told_reaches_it(world):
    nodes = await world.begin(options=options(world))

    async def one_of_centrifugo(client, nth):
        await client.subscribes(f"open/{nth}")
        await api(world, nodes[(nth + 1) % 2], "publish", channel=f"open/{nth}", data=nth)
        assert await client.has(f"open/{nth}", nth) == 1

    async def one_of_pusher(client, nth):
        await client.subscribes(f"open-{nth}")
        await trigger(world, nodes[(nth + 1) % 2], f"open-{nth}", f"{nth}")
        await client.has(f"open-{nth}", "news", f"{nth}")

    async def crowd(door, one, nth):
        async with door(nodes[nth % 2]) as client:
            for each in range(nth, 50 if not FULL else 1000, 4):
                await one(client, each)

    doors = ((centrifuge, one_of_centrifugo), (pusher, one_of_pusher))
    await asyncio.gather(*(crowd(*door, nth) for door in doors for nth in range(4)))


async def a_backend_subscribes_clients_and_streams_are_subscribed(world):
    a, b = await world.begin(options=options(world))
    async with centrifuge(a) as one:
        assert (await api(world, a, "subscribe", user="ada", channel="cold"))["result"] == {}
        push = (await one.next())["push"]
        assert push["channel"] == "cold" and push["subscribe"]["recoverable"], push
        # Those of another server are not there.
        assert (await api(world, b, "subscribe", user="ada", channel="other"))["result"] == {}
        for channel in ("other", "cold"):
            await api(world, b, "publish", channel=channel, data=1)
        await one.has("cold", 1)
    fields = {"Content_Type": "application/json"}
    async with streamed(world, a, subs={"cold": {}}) as next:
        told = (await next())["connect"]
        assert told["subs"]["cold"]["offset"] == 1, told
        command = {"id": 2, "subscribe": {"channel": "posted"}}
        post = json.dumps({"session": told["session"], "node": told["node"], "data": json.dumps(command)})
        assert (await world.ask(a, "POST", "/emulation", post, **fields))[0] == 204
        assert (await next())["subscribe"]["recoverable"]
        # Its session is of one server.
        assert (await world.ask(b, "POST", "/emulation", post, **fields))[0] == 404
        for channel in ("cold", "posted"):
            await api(world, b, "publish", channel=channel, data=2)
            push = (await next())["push"]
            assert (push["channel"], push["pub"]["data"]) == (channel, 2), push


async def a_client_of_centrifugo_goes_on_at_another_node(world):
    a, b = await world.begin(options=options(world))
    async with centrifuge(a) as one:
        begun = await one.subscribes("t")
        await api(world, a, "publish", channel="t", data=1)
        place = {"recover": True, "epoch": begun["epoch"], "offset": await one.has("t", 1)}
        a.end()
    for nth in range(2, 6):
        await api(world, b, "publish", channel="t", data=nth)
    async with centrifuge(b) as one:
        back = await one.subscribes("t", **place)
        assert back["recovered"] and back["was_recovering"], back
        had = [it["data"] for it in back["publications"]]
        while len(had) < 4:
            had.append((await one.next())["push"]["pub"]["data"])
        assert had == [2, 3, 4, 5], had
    for wrong in ({"offset": 99}, {"epoch": "0000000000000000"}):
        async with centrifuge(b) as one:
            back = await one.subscribes("t", **{**place, **wrong})
            assert back["was_recovering"] and not back.get("recovered"), (wrong, back)
            assert back["offset"] == 5, back
    # The server's subscriptions, with the connection.
    async with b.connect("/connection/websocket") as peer:
        client = Centrifuge(peer)
        told = (await client.asks(connect={"token": token(), "subs": {"t": place}}))["connect"]["subs"]["t"]
        assert told["recovered"] and told["publications"][0]["data"] == 2, told


async def a_topic_that_cannot_go_on_has_its_clients_come_back(world):
    a, b = await world.begin(options=options(world))
    async with centrifuge(a) as one, pusher(b) as two, a.connect("/connection/websocket") as peer:
        begun = await one.subscribes("t")
        await two.subscribes("t")
        servers = Centrifuge(peer)
        await servers.asks(connect={"token": token(), "subs": {"t": {}}})
        await api(world, b, "publish", channel="t", data=1)
        place = {"recover": True, "epoch": begun["epoch"], "offset": await one.has("t", 1)}
        await two.next("message")
        await servers.has("t", 1)
        world.redis.kill()
        world.redis.start()
        # A subscription of its own is for a client to begin again.
        push = (await one.next())["push"]
        assert (push["channel"], push["unsubscribe"]["code"]) == ("t", 2500), push
        for peer in (two.peer, servers.peer):
            await closes(peer, 1013)

        async def is_back():
            return (await one.asks(subscribe={"channel": "t", **place})).get("subscribe")

        back, _ = await world.until(is_back)
        assert back["was_recovering"] and not back.get("recovered") and back["epoch"] != place["epoch"], back
        await world.ready(b)
        async with pusher(b) as two:
            await two.subscribes("t")
            await api(world, b, "publish", channel="t", data=2)
            await one.has("t", 2)
            await two.has("t", "message", "2")


async def without_a_broker_clients_are_told_so(world):
    a, _ = await world.begin(options=options(world))
    async with centrifuge(a) as one, pusher(a) as two, pusher(a) as three:
        begun = await one.subscribes("t")
        await three.subscribes("private-t")
        world.redis.pause()
        # A topic that is heard is there; others are waited for, for so long.
        began = time.monotonic()
        numbers = await one.sends(*({"subscribe": {"channel": f"new/{nth}"}} for nth in range(257)))
        first = await one.next()
        assert (first["id"], first["error"]["code"]) == (numbers[256], 111), first
        assert first["error"]["temporary"] is True, first
        # What a client of Pusher's asks for once in a connection, it asks for in a new one.
        for last in ("pusher:subscribe", "pusher:unsubscribe"):
            async with pusher(a) as full:
                await full.asks("new-0")
                for nth in range(1, 256):
                    await full.says("pusher:unsubscribe", {"channel": f"new-{nth}"})
                await full.says("pusher:ping", {})
                await full.next("pusher:pong")
                await full.says(last, {"channel": "new-256"})
                assert "parked_commands_max = 256" in await full.comes_back(), last
        asked = time.monotonic()
        await two.asks("new-0")
        assert "in time" in await two.comes_back()
        assert 1.9 < time.monotonic() - asked < 5
        for number in numbers[:256]:
            told = await one.next()
            assert (told["id"], told["error"]["code"]) == (number, 100), told
        took = time.monotonic() - began
        assert 1.9 < took < 5, f"{took} s"

        async def is_away():
            return (await world.ask(a, "GET", "/readyz"))[0] == 503

        await world.until(is_away)
        world.redis.kill()

        async def is_refused():
            return (await one.asks(publish={"channel": "t", "data": 1})).get("error", {}).get("code") == 111

        # The connection's loss is noticed.
        await world.until(is_refused)
        assert (await one.asks(subscribe={"channel": "new/0"}))["error"]["code"] == 100
        assert (await one.asks(history={"channel": "new/0", "limit": 1}))["error"]["code"] == 100
        assert (await api(world, a, "publish", channel="t", data=1))["error"]["code"] == 111
        assert (await api(world, a, "history", channel="new", limit=1))["error"]["code"] == 100
        # What is here may be less than what a publisher was told of.
        assert "result" in await api(world, a, "history", channel="t", limit=1)
        ahead = {"epoch": begun["epoch"], "offset": 99}
        assert (await api(world, a, "history", channel="t", limit=1, since=ahead))["error"]["code"] == 100
        status, text = await call(world, a, "POST", "/events", {"name": "n", "channel": "t", "data": "1"})
        assert status == 503 and "not published" in text, (status, text)
        assert (await call(world, a, "GET", "/channels/cache-x", info="cache"))[0] == 503
        await three.says("client-x", 1, channel="private-t")
        assert "not published" in (await three.next("pusher:error"))["data"]["message"]
        await three.asks("new-0")
        assert "reached" in await three.comes_back()
    # It knows nothing of before, so that those that had topics are sent away.
    world.redis.start()
    await world.ready(a)
    async with centrifuge(a) as one, pusher(a) as two:
        assert (await one.subscribes("new/0"))["recoverable"]
        await two.subscribes("new-0")
        await api(world, a, "publish", channel="new/0", data=1)
        await one.has("new/0", 1)


async def those_that_leave_while_they_wait_leave_nothing(world):
    a, _ = await world.begin(options=options(world))
    for door in (centrifuge, pusher):
        async with door(a) as one:
            world.redis.pause()
            if door is centrifuge:
                await one.sends({"subscribe": {"channel": "left"}}, {"publish": {"channel": "left", "data": 1}})
            else:
                await one.asks("private-left")
                await one.says("client-x", 1, channel="private-left")
        world.redis.go_on()
        await world.ready(a)
    # What they had waited for is not done, nor is it heard for long.
    async with centrifuge(a) as one:
        assert (await one.subscribes("left")).get("offset", 0) == 0

    async def is_left():
        channels = world.redis.ask("PUBSUB", "CHANNELS", "pushloop:news:*").splitlines()
        return not [line for line in channels if "left" in line]

    await world.until(is_left)



async def what_a_connection_may_not_have_is_not_heard(world):
    a, _ = await world.begin(options=options(world))

    def heard(name):
        channels = world.redis.ask("PUBSUB", "CHANNELS", "pushloop:news:*").splitlines()
        return len([line for line in channels if name in line])

    async with centrifuge(a) as one, pusher(a) as two:
        # What waits together is no more than what may be had, and what is more is not asked for in its turn.
        world.redis.pause()
        numbers = await one.sends(*({"subscribe": {"channel": f"ahead/{nth}"}} for nth in range(200)))
        # As many as may be asked for at once.
        for nth in range(128):
            await two.asks(f"ahead-{nth}")
        # A command of which there is no room to wait asks for nothing.
        async with pusher(a) as three:
            padded = 3000 * "x"
            text = json.dumps({"event": "pusher:subscribe", "data": {"channel": "padded-00", "auth": padded}})
            room = 131072 // (len(text) + 128)
            for nth in range(room + 1):
                await three.says("pusher:subscribe", {"channel": f"padded-{nth:02}", "auth": padded})
            assert "parked_command_bytes_max = 131072" in await three.comes_back()
        world.redis.go_on()
        codes = [(await one.next()).get("error", {}).get("code") for _ in numbers]
        assert codes == 128 * [None] + 72 * [106], codes
        for _ in range(128):
            await two.next("pusher_internal:subscription_succeeded")
        counts = (heard("ahead/"), heard("ahead-"), heard("padded-"))
        assert counts == (128, 128, room), (counts, room)
        assert (await one.asks(subscribe={"channel": "over/0"}))["error"]["code"] == 106

        async def is_over():
            await two.asks("over-0")
            told = await two.next()
            return told["event"] == "pusher:subscription_error" and "LimitReached" in told["data"]

        # It is too soon, and then too many.
        await world.until(is_over)
        assert heard("over") == 0
        # One that is given up makes room for another.
        await one.asks(unsubscribe={"channel": "ahead/0"})
        await one.subscribes("over/0")



async def one_that_asks_without_end_keeps_no_other_from_its_topic(world):
    a, _ = await world.begin(options=options(world))
    async with centrifuge(a) as one, centrifuge(a) as two:
        begun = await one.subscribes("h")
        # Only the broker can tell that these places are none, and until it has, nobody can subscribe.
        nowhere = {"channel": "h", "limit": 1, "since": {"epoch": begun["epoch"], "offset": 99}}
        ask = {"history": nowhere}
        world.redis.pause()
        await one.sends(*(100 * [ask]))
        [number] = await two.sends({"subscribe": {"channel": "h"}})
        world.redis.go_on()

        async def goes_on():
            while True:
                assert "history" in await one.next()
                await one.sends(ask)

        asks = asyncio.create_task(goes_on())
        try:
            told = await asyncio.wait_for(two.next(), 5)
            assert told["id"] == number and "subscribe" in told, told
            assert not asks.done()
        finally:
            asks.cancel()


CHECKS = [
    clients_of_pusher_share_channels,
    an_event_is_not_for_its_sender_on_whatever_node,
    clients_of_centrifugo_share_channels,
    commands_of_one_client_are_carried_out_in_their_order,
    what_is_published_once_a_subscription_is_told_reaches_it,
    a_backend_subscribes_clients_and_streams_are_subscribed,
    a_client_of_centrifugo_goes_on_at_another_node,
    a_topic_that_cannot_go_on_has_its_clients_come_back,
    without_a_broker_clients_are_told_so,
    those_that_leave_while_they_wait_leave_nothing,
    what_a_connection_may_not_have_is_not_heard,
    one_that_asks_without_end_keeps_no_other_from_its_topic,
]
