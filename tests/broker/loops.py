"""One server with several loops beside one with one, at a Redis that is really there: each loop is a node of its own."""

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import ClientSession
from channels import CHANNEL
from members import OPTIONS, are_there, enter, listed, watched
from protocols import API_KEY, Centrifuge, api, call, centrifuge, options, pusher, streamed, token, trigger
from webhooks import hears, told
from world import FULL, KEEPS, PATIENCE, Node, Redis, closes, crowd

LOOPS = ("--loops", "2")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


async def begin(world, options=KEEPS, redis=()):
    """A server with two loops, and one with one."""
    world.redis = Redis(*redis)
    world.nodes = [Node(world.server, world.redis, (*options, *more)) for more in (LOOPS, ())]
    for node in world.nodes:
        await world.ready(node)
    return world.nodes


async def asks(world, node, method, path, body=None, **headers):
    """Over a connection of its own: one after the other, these are of all loops in turns."""
    return await world.ask(node, method, path, body, Connection="close", **headers)


async def says(world, node, path, body, **headers):
    status, text = await asks(world, node, "POST", path, body, **headers)
    assert status == 200, (status, text)
    return json.loads(text)


def hearing(world, topic):
    """How many nodes hear a topic."""
    return int(world.redis.ask("PUBSUB", "NUMSUB", f"pushloop:news:{{{topic}}}").split()[-1])


async def probed(world, node):
    """What all loops say of whether the server is ready."""
    return {(await asks(world, node, "GET", "/readyz"))[0] for _of_each_loop in range(4)}


async def what_loops_publish_reaches_the_subscribers_of_all_once_and_in_order(world):
    a, b = await begin(world)
    peers = [await node.connect("/t?envelope=json") for node in (a, a, a, a, b)]
    assert hearing(world, "t") == 3, "both loops of the one, and the other"
    begun = [json.loads(await peer.recv())["id"] for peer in peers]
    assert len({it.split("-")[0] for it in begun}) == 1, begun
    count, waits = 200, []
    for nth in range(count):
        # Requests and messages, at each loop.
        if nth % 3:
            waits.append(asyncio.create_task(says(world, (a, b)[nth % 2], "/t", f"{nth}")))
        else:
            await peers[nth % len(peers)].send(f"{nth}")
    places = [it["id"] for it in await asyncio.gather(*waits)]
    had = []
    for peer in peers:
        told = [json.loads(await asyncio.wait_for(peer.recv(), PATIENCE)) for _ in range(count)]
        had.append([(it["id"], it["data"]) for it in told])
    assert all(it == had[0] for it in had), "orders differ"
    assert [int(place.split("-")[1]) for place, _ in had[0]] == list(range(1, count + 1))
    assert sorted(int(data) for _, data in had[0]) == list(range(count))
    assert set(places) <= {place for place, _ in had[0]}
    # What is kept is had at each loop, and a key and a place hold for all.
    for _of_each_loop in range(2):
        async with a.connect(f"/t?after={had[0][9][0]}") as peer:
            assert [await peer.recv() for _ in range(5)] == [data for _, data in had[0][10:15]]
    answers = [await says(world, node, "/t", "x", Idempotency_Key="k") for node in (a, a, b, a)]
    assert len({it["id"] for it in answers}) == 1, answers
    latest = answers[0]["id"]
    assert (await says(world, a, "/t", "y", If_Match=latest))["id"].endswith(f"-{count + 2}")
    for _of_each_loop in range(2):
        assert (await asks(world, a, "POST", "/t", "z", If_Match=latest))[0] == 412
    assert await world.figure(a, "pushloop_connections_open") >= 4
    assert await world.figure(a, "pushloop_deliveries") >= 4 * count


async def members_are_those_of_all_loops(world):
    a, b = await begin(world, OPTIONS)
    async with watched(world, a, a, b) as watchers:
        async with enter(a, "ada"), enter(a, "ben"), enter(a, "ada"), enter(b, "zoe"):
            await are_there(world, ["ada", "ben", "zoe"])
            lists = [await listed(world, node) for node in (a, a, a, b)]
            assert all(it == lists[0] for it in lists), lists
        await are_there(world, [])
        # A member of several loops has joined and left once.
        for watcher in watchers:
            expected = [(kind, it) for kind in ("join", "leave") for it in ("ada", "ben", "zoe")]

            async def has_all(watcher=watcher):
                return len(watcher.told) >= len(expected)

            await world.until(has_all)
            assert sorted(watcher.told) == expected, watcher.told
    # Each loop has a lease of its own.
    assert int(world.redis.ask("ZCARD", "pushloop:nodes:{$presence}")) == 3


async def a_broker_that_is_killed_is_missed_by_all_loops_and_nothing_by_their_subscribers(world):
    a, b = await begin(world, redis=DURABLE, options=(*KEEPS, "--redis-durable"))
    async with crowd(world, topics=8, rate=50) as all_:
        for _ in range(5 if FULL else 2):
            await asyncio.sleep(1)
            world.redis.kill()

            async def is_away():
                return await probed(world, a) == {503}

            await world.until(is_away)
            assert await world.figure(a, "pushloop_broker_up") == 0
            world.redis.start()
            for node in (a, b):
                await world.ready(node)
            assert await probed(world, a) == {200}
        await asyncio.sleep(1)
    all_.judge()
    assert sum(map(len, all_.acknowledged.values())) > 100
    assert await world.figure(a, "pushloop_broker_up") == 1
    assert await world.figure(a, "pushloop_broker_waiting") == 0


async def a_server_is_ready_if_all_of_its_loops_are(world):
    world.redis = Redis()
    a = Node(world.server, world.redis, (*KEEPS, *LOOPS))
    world.nodes = [a]

    async def are_ready():
        return await probed(world, a) == {200}

    async def is_away_everywhere():
        # Of the time before, no loop is away.
        await world.until(are_ready)
        first, *others = world.redis.ask("CLIENT", "LIST", "TYPE", "pubsub").splitlines()
        assert len(others) == 1, others
        # One of the loops hears nothing, until it has a new connection and an echo.
        world.redis.ask("CLIENT", "KILL", "ID", first.split()[0].removeprefix("id="))
        for _ in range(500):
            if (await asks(world, a, "GET", "/readyz"))[0] == 503:
                return await probed(world, a) == {503}
        return False

    await world.until(is_away_everywhere)
    await world.until(are_ready)


async def options_are_read_again_by_all_loops_and_all_drain(world):
    file = world.folder() / "options.toml"
    file.write_text("allow-host = 'a.org'\n")
    a, b = await begin(world, (*KEEPS, "--config", str(file), "--drain-spread", "0"))
    file.write_text("allow-host = 'b.org'\n")
    a.process.send_signal(signal.SIGHUP)

    async def is_taken():
        answers = [(await asks(world, a, "GET", "/", Host="b.org"))[0] for _of_each_loop in range(4)]
        return set(answers) == {200}

    await world.until(is_taken)
    assert (await asks(world, b, "GET", "/", Host="b.org"))[0] != 200
    peers = [await a.connect("/t") for _ in range(4)]
    a.process.send_signal(signal.SIGTERM)
    for peer in peers:
        await closes(peer, 1001)
    assert await asyncio.to_thread(a.process.wait, PATIENCE) == 0
    await says(world, b, "/t", "goes on")


async def connect(node):
    """A client of Centrifugo's, of which a session is sent."""
    peer = await node.connect("/connection/websocket")
    client = Centrifuge(peer)
    await client.asks(connect={"token": token()})
    return client


async def backends_reach_connections_of_all_loops(world):
    a, b = await begin(world, options(world))
    clients = [await connect(a) for _ in range(4)]
    assert (await api(world, a, "subscribe", user="ada", channel="cold"))["result"] == {}
    for client in clients:
        push = (await client.next())["push"]
        assert push["channel"] == "cold" and push["subscribe"]["recoverable"], push
    assert hearing(world, "cold") == 2, "of one server"
    await api(world, b, "publish", channel="cold", data=1)
    for client in clients:
        await client.has("cold", 1)
    for _of_each_loop in range(2):
        status, text = await asks(world, a, "POST", "/api/channels", "{}", X_API_Key=API_KEY)
        assert (status, json.loads(text)) == (200, {"result": {"channels": {"cold": {"num_clients": 4}}}}), text
    node, = (await api(world, a, "info"))["result"]["nodes"]
    assert (node["num_clients"], node["num_subs"], node["name"]) == (4, 4, "pushloop"), node
    batch = await api(world, a, "batch", commands=[{"channels": {}}, {"info": {}}])
    assert batch["replies"][0]["channels"]["channels"] == {"cold": {"num_clients": 4}}, batch
    batch = await api(world, a, "batch", commands=[{"publish": {"channel": "x", "data": 1}}, {"info": {}}])
    assert batch["replies"][1]["error"]["code"] == 108, batch
    assert (await api(world, a, "unsubscribe", user="ada", channel="cold"))["result"] == {}
    for client in clients:
        assert "unsubscribe" in (await client.next())["push"]
    assert (await api(world, a, "disconnect", user="ada"))["result"] == {}
    for client in clients:
        await closes(client.peer, 3503)


async def commands_are_posted_at_any_loop(world):
    a, _ = await begin(world, options(world))
    fields = {"Content_Type": "application/json"}
    for _of_each_loop in range(2):
        async with streamed(world, a) as next:
            told = (await next())["connect"]
            for nth in range(2, 8):
                command = {"id": nth, "subscribe": {"channel": f"posted/{nth}"}}
                post = {"session": told["session"], "node": told["node"], "data": json.dumps(command)}
                status, text = await asks(world, a, "POST", "/emulation", json.dumps(post), **fields)
                assert status == 204, (status, text)
                assert (await next())["id"] == nth
            post["session"] = "another"
            status, text = await asks(world, a, "POST", "/emulation", json.dumps(post), **fields)
            assert status == 404 and "session" in text, (status, text)
            status, text = await asks(world, a, "POST", "/emulation", "{", **fields)
            assert status == 400, (status, text)


async def clients_of_pusher_are_those_of_all_loops(world):
    a, b = await begin(world, options(world))
    async with pusher(a) as one, pusher(a) as two, pusher(a) as three, pusher(b) as other:
        everyone = (one, two, three, other)
        assert len({it.socket.split(".")[0] for it in everyone}) == 3, [it.socket for it in everyone]
        for it in everyone:
            await it.subscribes("private-p")
        for sender in everyone:
            await trigger(world, a, "private-p", "x", socket_id=sender.socket)
            for it in everyone:
                if it is not sender:
                    await it.has("private-p", "news", "x")
        await two.subscribes("of-two")
        expected = {"of-two": {"subscription_count": 1}, "private-p": {"subscription_count": 3}}
        for _of_each_loop in range(2):
            status, text = await call(world, a, "GET", "/channels", info="subscription_count")
            assert (status, json.loads(text)) == (200, {"channels": expected}), text
            status, text = await call(world, a, "GET", "/channels/of-two")
            assert (status, json.loads(text)) == (200, {"occupied": True}), text
        assert (await call(world, a, "GET", "/nothing"))[0] == 404
        for it in (one, two, other):
            await it.signs_in("ada")
        assert await call(world, a, "POST", "/users/ada/terminate_connections") == (200, "{}")
        for it in (one, two, other):
            await closes(it.peer, 4009)
        await trigger(world, a, "private-p", "last")
        await three.has("private-p", "news", "last")


async def what_backends_ask_for_is_done_in_its_order_at_all_loops(world):
    a, _ = await begin(world, options(world))
    clients = [await connect(a) for _ in range(4)]
    base = f"http://127.0.0.1:{a.port}"
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(ClientSession(base)) for _ in range(4)]
        bearer, key = {"Authorization": f"Bearer {token()}"}, {"X-API-Key": API_KEY}

        async def to_all(backend, method, channel):
            answer = await backend.post(f"/api/{method}", json={"user": "ada", "channel": channel}, headers=key)
            assert await answer.json() == {"result": {}}, await answer.text()

        for nth in range(2):
            channel = f"warm{nth}"
            async with a.connect(f"/{channel}", additional_headers=bearer) as peer:
                # It is heard at one loop, and the other one has to ask Redis.
                told = [await (await it.post(f"/{channel}", data="x", headers=bearer)).json() for it in backends]
                heard, other = [next(it for it, t in zip(backends, told) if t["delivered"] == n) for n in (1, 0)]
                assert [await peer.recv() for _ in backends] == ["x"] * 4
                world.redis.pause()
                await asyncio.wait_for(to_all(heard, "subscribe", channel), 2)
                later = asyncio.create_task(to_all((heard, other)[nth], "unsubscribe", channel))
                # Long enough for it to be done, where it does not wait for what was before it.
                await asyncio.wait([later], timeout=0.3)
                world.redis.go_on()
                await later
                for client in clients:
                    pushes = [(await client.next())["push"] for _ in range(2)]
                    assert ["subscribe" in pushes[0], "unsubscribe" in pushes[1]] == [True, True], pushes


async def what_one_loop_does_not_tell_is_not_left_out(world):
    """Of two loops, one has more channels than may be told."""
    a, _ = await begin(world, options(world))
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(pusher(a)) for _ in range(90)]
        node = peers[0].socket.split(".")[0]
        for nth, peer in enumerate(it for it in peers if it.socket.split(".")[0] == node):
            for channel in range(128):
                await peer.asks(f"{nth}-{channel}-".ljust(164, "x"))
            for _ in range(128):
                await peer.next("pusher_internal:subscription_succeeded")
        for _of_each_loop in range(2):
            status, text = await call(world, a, "GET", "/channels", info="subscription_count")
            assert status == 400 and "channels_list_bytes_max" in text, (status, text[:100])
            status, text = await call(world, a, "GET", "/channels", filter_by_prefix="0-1")
            assert status == 200 and json.loads(text)["channels"], (status, text[:100])


async def what_a_channel_has_kept_is_told_as_it_is(world):
    a, _ = await begin(world, options(world))
    async with pusher(a) as one, pusher(a) as two:
        for it in (one, two):
            await it.subscribes("private-cache-c")
            await it.next("pusher:cache_miss")
        data = {"score": 3, "is_new": False, "users": [{"n": 2}]}
        await one.says("client-x", data, channel="private-cache-c")
        assert (await two.next("client-x"))["data"] == data
        for _of_each_loop in range(2):
            status, text = await call(world, a, "GET", "/channels/private-cache-c", info="cache,subscription_count")
            told = {"occupied": True, "subscription_count": 2, "cache": {"data": data}}
            assert (status, json.loads(text)) == (200, told), text


async def a_batch_is_told_no_more_by_other_loops_than_by_the_one_that_is_asked(world):
    a, _ = await begin(world, options(world))
    async with AsyncExitStack() as stack:
        for nth in range(60):
            client = await stack.enter_async_context(centrifuge(a))
            names = [f"{nth}-{channel}-".ljust(160, "x") for channel in range(100)]
            await client.sends(*({"subscribe": {"channel": it}} for it in names))
            assert all(["subscribe" in await client.next() for _ in names])
        before = peak(a)
        commands = [{"channels": {}}] * 200
        fields = {"X_API_Key": API_KEY}
        status, text = await asks(world, a, "POST", "/api/batch", json.dumps({"commands": commands}), **fields)
        assert status == 400 and "loops_answer_bytes_max" in text, (status, text[:100])
        assert peak(a) < before + (64 << 20), (before, peak(a))


def peak(node):
    """Bytes of memory that a server has had at most."""
    lines = Path(f"/proc/{node.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


async def what_all_servers_are_to_do_is_done_once_by_each_loop(world):
    a, b = await begin(world, options(world))
    async with AsyncExitStack() as peers:
        clients = [await peers.enter_async_context(centrifuge(node, user)) for node in (a, a, a, a, b) for user in ("ada", "ben")]
        for it in clients:
            await it.subscribes("x")
        world.redis.pause()
        asked = asyncio.create_task(api(world, a, "unsubscribe", user="ada", channel="x"))
        # Those of the process have it from each other, and are back before Redis tells of it.
        for it in clients[:8:2]:
            assert "unsubscribe" in (await it.next())["push"]
            await it.subscribes("x")
        world.redis.go_on()
        assert await asked == {"result": {}}
        assert "unsubscribe" in (await clients[8].next())["push"]
        await api(world, b, "publish", channel="x", data=1)
        for it in (*clients[:8], clients[9]):
            await it.has("x", 1)


async def backends_are_told_of_each_event_once(world):
    async with told(world, 1, LOOPS) as (backend, (a,), _):
        async with AsyncExitStack() as peers:
            everyone = [await peers.enter_async_context(pusher(a)) for _ in range(4)]
            assert len({it.socket.split(".")[0] for it in everyone}) == 2, "of both loops"
            for it in everyone:
                await it.enters(CHANNEL, "ada")
                await it.subscribes("public")
            await everyone[0].says("client-x", 1, channel=CHANNEL)
            first = ["channel_occupied", "member_added"]
            await hears(world, backend, [*first, "client_event"])
            await hears(world, backend, ["channel_occupied"], channel="public")
        await hears(world, backend, [*first, "client_event", "member_removed", "channel_vacated"])
        await hears(world, backend, ["channel_occupied", "channel_vacated"], channel="public")
        # What is not told at once is, at the end of the server, by all of its loops together.
        async with AsyncExitStack() as peers:
            everyone = [await peers.enter_async_context(pusher(a)) for _ in range(4)]
            for it in everyone:
                await it.subscribes("cache-c")
                await it.next("pusher:cache_miss")
            a.process.terminate()
            assert await asyncio.to_thread(a.process.wait, PATIENCE) == 0
        await hears(world, backend, ["channel_occupied", *4 * ["cache_miss"]], channel="cache-c")


CHECKS = [
    what_all_servers_are_to_do_is_done_once_by_each_loop,
    backends_are_told_of_each_event_once,
    what_loops_publish_reaches_the_subscribers_of_all_once_and_in_order,
    members_are_those_of_all_loops,
    a_broker_that_is_killed_is_missed_by_all_loops_and_nothing_by_their_subscribers,
    a_server_is_ready_if_all_of_its_loops_are,
    options_are_read_again_by_all_loops_and_all_drain,
    backends_reach_connections_of_all_loops,
    commands_are_posted_at_any_loop,
    clients_of_pusher_are_those_of_all_loops,
    what_backends_ask_for_is_done_in_its_order_at_all_loops,
    what_one_loop_does_not_tell_is_not_left_out,
    what_a_channel_has_kept_is_told_as_it_is,
    a_batch_is_told_no_more_by_other_loops_than_by_the_one_that_is_asked,
]
