"""Channels with members, of Pusher's and of Centrifugo's clients: who is there is one list, at whatever node."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

from members import DELAY, SWEPT
from protocols import api, call, centrifuge, options, pusher, trigger
from websockets.exceptions import ConnectionClosed, InvalidStatus
from world import FULL, PATIENCE

CHANNEL = "presence-p"
GRANTS = {"subscribe": ["*", "$*"]}  # may know who is there


def both(world):
    return (*options(world), "--presence", "--presence-delay", str(DELAY))


async def users(world, node, channel=CHANNEL):
    status, text = await call(world, node, "GET", f"/channels/{channel}/users")
    assert status == 200, (status, text)
    return [it["id"] for it in json.loads(text)["users"]]


async def members_of_a_channel_are_those_of_all_nodes(world):
    a, b = await world.begin(options=both(world))
    async with pusher(a) as one, pusher(b) as three, pusher(a) as four:
        assert await one.enters(CHANNEL, "ada", {"n": 1}) == {"ada": {"n": 1}}
        async with pusher(b) as two:
            assert await two.enters(CHANNEL, "ben") == {"ada": {"n": 1}, "ben": None}
            assert json.loads((await one.hears("added", "ben"))["data"]) == {"user_id": "ben"}
            # A user at two nodes is one member, with the info of the first.
            assert await three.enters(CHANNEL, "ada", {"n": 2}) == {"ada": {"n": 1}, "ben": None}
            assert await four.enters(CHANNEL, "ben") == {"ada": {"n": 1}, "ben": None}
            for node in (a, b):
                assert await users(world, node) == ["ada", "ben"]
                status, text = await call(world, node, "GET", f"/channels/{CHANNEL}", info="user_count")
                assert (status, json.loads(text)) == (200, {"occupied": True, "user_count": 2}), text
                body = {"name": "news", "channel": CHANNEL, "data": "1", "info": "user_count"}
                status, text = await call(world, node, "POST", "/events", body)
                assert (status, json.loads(text)) == (200, {"channels": {CHANNEL: {"user_count": 2}}}), text
                for it in (one, two, three, four):
                    await it.has(CHANNEL, "news", "1")
        # It is there at the other node still.
        await asyncio.sleep(DELAY + 0.5)
        assert await users(world, b) == ["ada", "ben"]
        await four.says("pusher:unsubscribe", {"channel": CHANNEL})
        for it in (one, three):
            await it.hears("removed", "ben")
    async def is_empty():
        return not await users(world, a) and not await users(world, b)

    await world.until(is_empty)
    # Asked where nobody has it, of a channel that another node has.
    async with pusher(a) as one:
        await one.enters("presence-other", "cy")
        status, text = await call(world, b, "GET", "/channels/presence-other", info="user_count")
        assert (status, json.loads(text)) == (200, {"occupied": True, "user_count": 1}), text
        body = {"name": "n", "channel": "presence-third", "data": "1", "info": "user_count"}
        status, text = await call(world, b, "POST", "/batch_events", {"batch": [body]})
        assert (status, json.loads(text)) == (200, {"batch": [{"user_count": 0}]}), text


async def a_channel_has_as_many_members_as_it_may_over_all_nodes(world):
    a, b = nodes = await world.begin(options=both(world))
    async with AsyncExitStack() as peers:
        for nth in range(100):
            it = await peers.enter_async_context(pusher(nodes[nth % 2]))
            assert len(await it.enters(CHANNEL, f"u{nth}")) == nth + 1
        async with pusher(a) as late, pusher(b) as known:
            await late.asks(CHANNEL, channel_data='{"user_id":"late"}')
            told = json.loads((await late.next("pusher:subscription_error"))["data"])
            assert told["type"] == "LimitReached" and "channel_members_max = 100" in told["error"], told
            assert len(await known.enters(CHANNEL, "u0")) == 100
            assert len(await users(world, b)) == 100


async def a_channel_has_no_more_members_for_it_that_they_come_at_once(world):
    (a,) = await world.begin(1, options=both(world))
    async with AsyncExitStack() as peers:
        everyone = [await peers.enter_async_context(pusher(a)) for _ in range(120)]
        for nth, it in enumerate(everyone):
            await it.asks(CHANNEL, channel_data=json.dumps({"user_id": f"u{nth // 2 if nth < 20 else nth}"}))
        answers = []
        for it in everyone:
            while (told := await it.next())["event"] == "pusher_internal:member_added":
                pass
            answers.append(told["event"])
            if told["event"] != "pusher_internal:subscription_succeeded":
                assert told["event"] == "pusher:subscription_error" and "channel_members_max = 100" in told["data"], told
        # Of the first twenty, each two are one member.
        assert answers[:110] == 110 * ["pusher_internal:subscription_succeeded"], answers
        assert answers[110:] == 10 * ["pusher:subscription_error"], answers
        assert len(await users(world, a)) == 100


async def subscriptions_to_many_channels_with_members_are_told_in_their_order(world):
    a, b = await world.begin(options=both(world))
    async with pusher(a) as one, pusher(b) as two:
        names = [f"presence-{nth}" for nth in range(60)]
        for it, user in ((one, "ada"), (two, "ben")):
            for name in names:
                await it.asks(name, channel_data=json.dumps({"user_id": user}))
            got = []
            while len(got) < len(names):
                told = await it.next()
                if told["event"] == "pusher_internal:subscription_succeeded":
                    got.append(told["channel"])
            assert got == names, got
        # One that leaves while it waits for its list is no member.
        world.redis.pause()
        await one.asks("presence-left", channel_data='{"user_id":"ada"}')
        await one.says("pusher:unsubscribe", {"channel": "presence-left"})
        world.redis.go_on()
        await world.ready(a)

        async def has_left():
            return not await users(world, b, "presence-left")

        await world.until(has_left)
        # That it is had at all is told where somebody is.
        assert await users(world, b, names[0]) == ["ada", "ben"]


async def clients_of_a_channel_are_those_of_all_nodes(world):
    a, b = await world.begin(options=both(world))
    async with centrifuge(a, "ada", info={"n": 1}, **GRANTS) as one:
        await one.subscribes("room", join_leave=True)
        joined = (await one.next())["push"]
        mine = {"client": one.id, "user": "ada", "conn_info": {"n": 1}}
        assert joined == {"channel": "room", "join": {"info": mine}}, joined
        async with centrifuge(b, "ben", info=[2], **GRANTS) as two, centrifuge(b, "ada", **GRANTS) as three:
            await two.subscribes("room")
            its = {"client": two.id, "user": "ben", "conn_info": [2]}
            assert (await one.next())["push"] == {"channel": "room", "join": {"info": its}}
            # Each connection is a client.
            await three.subscribes("room", join_leave=True)
            for it in (one, three):
                assert (await it.next())["push"]["join"]["info"]["client"] == three.id
            expected = {one.id: mine, two.id: its, three.id: {"client": three.id, "user": "ada"}}
            for it in (one, two, three):
                assert (await it.asks(presence={"channel": "room"}))["presence"]["presence"] == expected
                told = (await it.asks(presence_stats={"channel": "room"}))["presence_stats"]
                assert told == {"num_clients": 3, "num_users": 2}, told
            for node in (a, b):
                assert (await api(world, node, "presence", channel="room"))["result"]["presence"] == expected
                told = (await api(world, node, "presence_stats", channel="room"))["result"]
                assert told == {"num_clients": 3, "num_users": 2}, told
            # It leaves at once, and others are told what it was.
            await two.asks(unsubscribe={"channel": "room"})
            for it in (one, three):
                assert (await it.next())["push"] == {"channel": "room", "leave": {"info": its}}
                told = (await it.asks(presence_stats={"channel": "room"}))["presence_stats"]
                assert told == {"num_clients": 2, "num_users": 1}, told
            # What it asks once it has subscribed has itself, whoever may know.
            for nth in range(20):
                channel = {"channel": f"own/{nth}"}
                if nth % 2:
                    # Where the list is known already.
                    await three.asks(presence=channel)
                await two.sends({"subscribe": channel}, {"presence": channel})
                assert "subscribe" in await two.next()
                assert list((await two.next())["presence"]["presence"]) == [two.id]
        left = [(await one.next())["push"]["leave"]["info"]["client"]]
        assert left == [three.id], left
        # Users who are members at other doors stay for the delay.
        async with centrifuge(b, "cy") as it:
            assert (await it.asks(presence={"channel": "room"}))["error"]["code"] == 103
            assert (await api(world, b, "presence_stats", channel="nobody"))["result"].get("num_clients", 0) == 0


async def those_of_a_node_that_is_killed_leave_once(world):
    a, b = await world.begin(options=both(world))
    count = 60 if FULL else 20
    async with AsyncExitStack() as peers, pusher(b) as one, centrifuge(b, "ada", **GRANTS) as two:
        await one.enters(CHANNEL, "stays")
        await two.subscribes("room", join_leave=True)
        await two.next()
        mine, clients = [f"u{nth}" for nth in range(count)], []
        for user in mine:
            it = await peers.enter_async_context(pusher(a))
            await it.enters(CHANNEL, user)
            await one.hears("added", user)
            it = await peers.enter_async_context(centrifuge(a, user, info={"of": user}))
            await it.subscribes("room")
            clients.append({"client": it.id, "user": user, "conn_info": {"of": user}})
            assert (await two.next())["push"]["join"]["info"] == clients[-1]
        # One of them is at both.
        it = await peers.enter_async_context(pusher(b))
        await it.enters(CHANNEL, mine[0])
        a.process.kill()
        a.process.wait(PATIENCE)
        removed, left = [], []

        async def are_gone():
            for it, of in ((one, removed), (two, left)):
                try:
                    async with asyncio.timeout(0.05):
                        of.append(await it.next())
                except TimeoutError:
                    pass
            return len(removed) == count - 1 and len(left) == count

        await world.until(are_gone, SWEPT)
        assert sorted(json.loads(it["data"])["user_id"] for it in removed) == sorted(mine[1:]), removed
        order = lambda it: it["client"]
        assert sorted((it["push"]["leave"]["info"] for it in left), key=order) == sorted(clients, key=order)
        await trigger(world, b, CHANNEL, "last")
        await one.has(CHANNEL, "news", "last")
        assert sorted(await users(world, b)) == sorted(["stays", mine[0]])
        told = (await two.asks(presence_stats={"channel": "room"}))["presence_stats"]
        assert told == {"num_clients": 1, "num_users": 1}, told


@asynccontextmanager
async def those_that_come_back(door, node, enters):
    """A client that comes back, and enters anew: its lists, one after the other."""
    lists = []

    async def run():
        while True:
            try:
                async with door(node) as it:
                    lists.append(await enters(it))
                    while True:
                        told = await it.next()
                        lists[-1] = changed(lists[-1], told)
            except (ConnectionClosed, InvalidStatus, OSError, AssertionError):
                await asyncio.sleep(0.2)

    task = asyncio.create_task(run())
    try:
        yield lists
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def changed(members, told):
    event = told.get("event", "")
    if not event.startswith("pusher_internal:member_"):
        return members
    user = json.loads(told["data"])["user_id"]
    assert (user in members) == event.endswith("removed"), told
    return members - {user} if event.endswith("removed") else members | {user}


async def a_broker_that_is_killed_and_comes_back_has_them_all(world):
    a, b = nodes = await world.begin(options=both(world))
    async with AsyncExitStack() as peers:
        all_ = {}
        for nth in range(8):
            async def enters(it, user=f"u{nth}"):
                return set(await it.enters(CHANNEL, user))

            all_[f"u{nth}"] = await peers.enter_async_context(those_that_come_back(pusher, nodes[nth % 2], enters))

        async def are_there():
            return all(lists and lists[-1] == set(all_) for lists in all_.values())

        await world.until(are_there)
        for _ in range(2):
            before = [len(it) for it in all_.values()]
            world.redis.kill()
            await asyncio.sleep(1)
            world.redis.start()
            for node in nodes:
                await world.ready(node)
            await world.until(are_there, SWEPT + PATIENCE)

            async def have_come_back():
                return all(len(it) > count for it, count in zip(all_.values(), before))

            await world.until(have_come_back)
            await world.until(are_there, SWEPT + PATIENCE)
        for node in nodes:
            assert sorted(await users(world, node)) == sorted(all_)


async def who_is_there_is_not_told_while_the_broker_is_away(world):
    a, _ = await world.begin(options=both(world))
    async with pusher(a) as one, centrifuge(a, "ada", **GRANTS) as two, pusher(a) as three:
        await one.enters(CHANNEL, "ada")
        await two.subscribes("room", join_leave=True)
        await two.next()
        world.redis.kill()

        async def is_away():
            return (await world.ask(a, "GET", "/readyz"))[0] == 503

        await world.until(is_away)
        # What is known stays known; who might be elsewhere is not.
        assert await users(world, a) == ["ada"]
        assert (await call(world, a, "GET", "/channels/presence-new/users"))[0] == 503
        assert (await api(world, a, "presence", channel="new"))["error"]["code"] == 100
        assert (await two.asks(presence={"channel": "new"}))["error"]["code"] == 100
        await three.asks(CHANNEL, channel_data='{"user_id":"ben"}')
        assert "broker" in await three.comes_back()
        world.redis.start()


CHECKS = [
    members_of_a_channel_are_those_of_all_nodes,
    a_channel_has_as_many_members_as_it_may_over_all_nodes,
    a_channel_has_no_more_members_for_it_that_they_come_at_once,
    subscriptions_to_many_channels_with_members_are_told_in_their_order,
    clients_of_a_channel_are_those_of_all_nodes,
    those_of_a_node_that_is_killed_leave_once,
    a_broker_that_is_killed_and_comes_back_has_them_all,
    who_is_there_is_not_told_while_the_broker_is_away,
]
