"""Who subscribes, over all nodes: one list, which outlives a node."""

import asyncio
import json
import random
import signal
from contextlib import asynccontextmanager
from pathlib import Path

from websockets.exceptions import ConnectionClosed, InvalidStatus
from world import FULL, PATIENCE, Node

DELAY = 1  # seconds until one that is gone has left
OPTIONS = ("--presence", "--presence-delay", str(DELAY), "--anyone-may-publish")
LEASE = 15  # seconds, as leasing.rs has it
SWEPT = LEASE + 2 * 3.5 + 3  # the last renewal may have been just before, and a look for what is over comes each 3.5 s


async def listed(world, node, room="room"):
    """The list, and the place up to which it knows."""
    status, text = await world.ask(node, "GET", f"/{room}?presence")
    return json.loads(text) if status == 200 else None


async def ids(world, node, room="room"):
    found = await listed(world, node, room)
    return None if found is None else [it["id"] for it in found["members"]]


async def are_there(world, expected, nodes=None, room="room", seconds=PATIENCE):
    """Waits until all nodes have these in their lists; gives after how many seconds."""

    async def is_so():
        return [await ids(world, node, room) for node in nodes or world.nodes] == [expected] * len(nodes or world.nodes)

    try:
        return (await world.until(is_so, seconds))[1]
    except AssertionError:
        raise AssertionError([await ids(world, node, room) for node in nodes or world.nodes]) from None


class Watcher:
    """Hears who comes and goes, as the page in docs/SERVER.md does it: it comes back, and asks for the list then."""

    def __init__(self, world, node, room="room"):
        self.world, self.node, self.room = world, node, room
        self.members, self.told, self.place, self.lists = {}, [], None, 0

    def apply(self, change):
        (kind, member), = json.loads(change["data"]).items()
        self.told.append((kind, member["id"]))
        if kind == "join":
            assert member["id"] not in self.members, f"{member} joins twice"
            self.members[member["id"]] = member["info"]
        else:
            assert self.members.pop(member["id"], self) is not self, f"{member} leaves and was not there"
        self.place = change["id"]

    async def run(self):
        while True:
            try:
                async with self.node.connect(f"/$presence/{self.room}?envelope=json") as peer:
                    await peer.recv()
                    found = await listed(self.world, self.node, self.room)
                    if found is None:
                        continue
                    self.members = {it["id"]: it["info"] for it in found["members"]}
                    self.place, self.lists = found["id"], self.lists + 1
                    epoch, offset = found["id"].split("-")
                    async for text in peer:
                        change = json.loads(text)
                        life, at = change["id"].split("-")
                        assert life == epoch, f"{change} after {found['id']}"
                        if int(at) > int(offset):
                            self.apply(change)
            except (ConnectionClosed, InvalidStatus, OSError):
                await asyncio.sleep(0.1)

    async def has(self, told, seconds=PATIENCE):
        """Waits for as many changes as these, and they are these."""

        async def is_so():
            return len(self.told) >= len(told)

        try:
            await self.world.until(is_so, seconds)
        except AssertionError:
            pass
        assert self.told == told, f"{self.told}, not {told}"


@asynccontextmanager
async def watched(world, *nodes):
    watchers = [Watcher(world, node) for node in nodes]
    tasks = [asyncio.create_task(it.run()) for it in watchers]
    try:

        async def have_begun():
            return all(it.lists for it in watchers)

        await world.until(have_begun)
        yield watchers
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def enter(node, member, info="", room="room"):
    return node.connect(f"/{room}?member={member}" + (f"&info={info}" if info else ""))


async def members_are_those_of_all_nodes(world):
    a, b = await world.begin(options=OPTIONS)
    async with watched(world, a, b) as watchers, enter(b, "zoe", "%7B%22desk%22%3A%2012%7D"):
        await are_there(world, ["zoe"])
        async with enter(a, "ada", "1"), enter(b, "ben"):
            await are_there(world, ["ada", "ben", "zoe"])
            async with enter(b, "ada", "2"):
                both = [await listed(world, node) for node in (a, b)]
                assert both[0] == both[1] and both[0]["id"].endswith("-3"), both
                assert both[0]["members"][0] == {"id": "ada", "info": 1}, both
                assert both[0]["members"][2]["info"] == {"desk": 12}, both
            status, text = await world.ask(b, "GET", "/room?presence=count")
            assert status == 200 and json.loads(text)["count"] == 3, text
        # One that comes back at another node in time has not left, and one that is at two has left with the second.
        async with enter(a, "ben"):
            await are_there(world, ["ben", "zoe"])
            await asyncio.sleep(2 * DELAY)
            await are_there(world, ["ben", "zoe"])
        await are_there(world, ["zoe"])
        for watcher in watchers:
            joins = sorted(watcher.told[:3])
            assert joins == [("join", it) for it in ("ada", "ben", "zoe")], watcher.told
            assert watcher.told[3:] == [("leave", "ada"), ("leave", "ben")], watcher.told
    # The servers alone tell of members.
    status, text = await world.ask(a, "POST", "/$presence/room", '{"leave":{"id":"zoe"}}')
    assert status == 403 and "the server's own" in text, (status, text)


async def members_of_a_node_that_is_killed_leave_once(world):
    a, b, c = await world.begin(3, options=OPTIONS)
    mine = [f"m{nth:03}" for nth in range(300 if FULL else 120)]
    async with watched(world, b, c) as watchers, enter(b, "both"):
        peers = [await enter(a, member) for member in [*mine, "both"]]
        other = await enter(a, "elsewhere", room="other")
        await are_there(world, ["both", *mine])
        await are_there(world, ["elsewhere"], room="other")
        a.process.kill()
        a.process.wait(PATIENCE)
        world.nodes.remove(a)
        seconds = await are_there(world, ["both"], seconds=SWEPT)
        await are_there(world, [], room="other", seconds=PATIENCE)
        print(f"figure killed node: {len(mine)} members left after {seconds:.1f} s")
        for watcher in watchers:
            left = sorted(member for kind, member in watcher.told if kind == "leave")
            assert left == mine, f"{len(left)} leaves"
        for peer in [*peers, other]:
            peer.transport.abort()

        async def is_forgotten():
            keys = world.redis.ask("KEYS", "pushloop:*").splitlines()
            return world.redis.ask("EXISTS", "pushloop:over:{$presence}") == "0" and sum("lists:" in key for key in keys) == 1

        await world.until(is_forgotten)
    a.log.close()


def after(node, found, room="room"):
    """Hears what changes after a list."""
    return node.connect(f"/$presence/{room}?envelope=json&after={found['id']}")


async def leads(peer, first, then):
    """Whether what is heard after the first list leads to the other one, if that is a place on its way."""

    def members(found):
        told = {it["id"]: it["info"] for it in found["members"]}
        assert len(told) == len(found["members"]) == found["count"], "a member is there twice"
        return told

    had, place = members(first), first["id"]
    while int(place.split("-")[1]) < int(then["id"].split("-")[1]):
        told = json.loads(await asyncio.wait_for(peer.recv(), PATIENCE))
        place = told["id"]
        if "data" in told:
            (kind, member), = json.loads(told["data"]).items()
            if kind == "join":
                assert member["id"] not in had, f"{member} joins twice"
                had[member["id"]] = member["info"]
            else:
                had.pop(member["id"])
    if place == then["id"]:
        assert had == members(then), (first["id"], then["id"])
    return place == then["id"]


async def what_members_change_after_a_list_gives_the_next_one(world):
    nodes = await world.begin(options=(*OPTIONS, "--history", "100000"))
    ends, dice = [], random.Random(1)

    async def come_and_go(member):
        while not ends:
            async with enter(dice.choice(nodes), member):
                await asyncio.sleep(dice.random() * 3)
            await asyncio.sleep(dice.random() * 3)

    tasks = [asyncio.create_task(come_and_go(f"m{nth}")) for nth in range(40)]
    begun = 0
    while begun < (60 if FULL else 10):
        first = await listed(world, nodes[begun % 2])
        async with after(nodes[(begun + 1) % 2], first) as peer:
            await asyncio.sleep(dice.random())
            begun += await leads(peer, first, await listed(world, nodes[dice.randrange(2)]))
    ends.append(True)
    await asyncio.gather(*tasks)
    await are_there(world, [])


class Crowd:
    """Members that come back, always to the same node, until they are to go."""

    def __init__(self):
        self.tasks = {}

    async def stay(self, node, member):
        while True:
            try:
                async with enter(node, member) as peer:
                    await peer.wait_closed()
            except (InvalidStatus, OSError):
                pass
            await asyncio.sleep(0.1)

    def come(self, node, member):
        self.tasks[member] = asyncio.create_task(self.stay(node, member))

    async def go(self, *members):
        tasks = [self.tasks.pop(member) for member in members]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def members(self):
        return sorted(self.tasks)


async def a_broker_that_is_away_or_forgets_takes_no_member_along(world):
    """Killed and started again, emptied, cut, and standing still: in the end the lists are true, and who is here has not left."""
    options = ("--presence", "--presence-delay", "10", "--anyone-may-publish")
    nodes = a, b = await world.begin(options=options)
    many = Crowd()

    def restart():
        world.redis.kill()
        world.redis.start()

    def empty():
        world.redis.ask("FLUSHALL")

    def cut():
        world.redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        world.redis.ask("CLIENT", "KILL", "TYPE", "pubsub")

    async with watched(world, a, b) as watchers:
        for of in range(20):
            many.come(nodes[of % 2], f"m{of}")
        await are_there(world, many.members())

        async def are_true():
            return all(sorted(it.members) == many.members() for it in watchers)

        for nth, what in enumerate((restart, empty, cut, restart)):
            before = [len(it.told) for it in watchers]
            what()
            # One goes meanwhile, and another comes.
            await many.go(many.members()[0])
            many.come(a, f"n{nth}")
            for node in nodes:
                await world.ready(node)
            await are_there(world, many.members(), seconds=SWEPT + 10 + PATIENCE)
            await world.until(are_true)
            for watcher, count in zip(watchers, before):
                left = {member for kind, member in watcher.told[count:] if kind == "leave"}
                assert not left & set(many.members()), left & set(many.members())
        world.redis.pause()
        await asyncio.sleep(5)
        world.redis.go_on()
        for node in nodes:
            await world.ready(node)
        await asyncio.sleep(SWEPT if FULL else 3)
        await are_there(world, many.members())
        await world.until(are_true)
        await many.go(*many.members())
        await are_there(world, [], seconds=PATIENCE + 10)


async def a_lease_that_is_over_while_the_broker_stands_still_is_renewed(world):
    """The broker's clock goes on: when it comes back, all leases are over, and nobody has left."""
    a, b = await world.begin(options=OPTIONS)
    async with watched(world, a, b) as watchers, enter(a, "ada"), enter(b, "ben"):
        await are_there(world, ["ada", "ben"])
        before = [list(it.told) for it in watchers]
        world.redis.pause()
        await asyncio.sleep(LEASE + 4)
        world.redis.go_on()
        for node in (a, b):
            await world.ready(node)
        await asyncio.sleep(SWEPT)
        await are_there(world, ["ada", "ben"])
        assert [it.told for it in watchers] == before, [it.told for it in watchers]
    # What had come of the names of before is gone: each node has one.
    await are_there(world, [])
    assert world.redis.ask("ZCARD", "pushloop:nodes:{$presence}") == "2" and world.redis.ask("EXISTS", "pushloop:over:{$presence}") == "0"


async def members_of_a_node_that_stands_still_leave_and_come_back_with_it(world):
    a, b = await world.begin(options=OPTIONS)
    async with watched(world, b) as (watcher,), enter(a, "ada"), enter(b, "ben"):
        await are_there(world, ["ada", "ben"])
        before = list(watcher.told)
        a.process.send_signal(signal.SIGSTOP)
        await are_there(world, ["ben"], [b], seconds=SWEPT)
        a.process.send_signal(signal.SIGCONT)
        await are_there(world, ["ada", "ben"])
        await watcher.has([*before, ("leave", "ada"), ("join", "ada")])


async def a_topic_has_as_many_members_as_it_may_over_all_nodes(world):
    a, b = await world.begin(options=OPTIONS)
    fill = "for nth = 1, 9999 do redis.call('HSET', KEYS[1], '\"' .. nth .. '\"', 'null') end"
    world.redis.ask("EVAL", fill, "1", "pushloop:members:{$presence}/room")

    async def count():
        return json.loads((await world.ask(b, "GET", "/room?presence=count"))[1])["count"]

    async with enter(a, "ada"), b.connect("/$presence/room"):

        async def is_full():
            return await count() == 10_000

        await world.until(is_full)
        # Where the list is known, it is refused; elsewhere, it waits for room.
        assert (await listed(world, b))["count"] == 10_000
        try:
            async with enter(b, "ben"):
                raise AssertionError("it was let in")
        except InvalidStatus as refused:
            assert refused.response.status_code == 503 and b"members_max" in refused.response.body
        async with enter(a, "cy"):

            async def is_counted():
                return await world.figure(a, "pushloop_broker_members_refused") > 0

            await world.until(is_counted)
            assert await count() == 10_000
            world.redis.ask("HDEL", "pushloop:members:{$presence}/room", '"1"')

            async def is_there():
                return world.redis.ask("HEXISTS", "pushloop:members:{$presence}/room", '"cy"') == "1"

            await world.until(is_there)


async def a_companion_topic_is_remembered_as_long_as_what_it_keeps_and_ten_minutes(world):
    a, = await world.begin(1, options=OPTIONS)
    b = Node(world.server, world.redis, (*OPTIONS, "--history", "9", "--history-age", "3600"))
    world.nodes.append(b)
    await world.ready(b)

    def seconds(room):
        return int(world.redis.ask("TTL", f"pushloop:topic:{{$presence}}/{room}"))

    async with a.connect("/room?member=ada"), b.connect("/long?member=ada"):

        async def are_known():
            return seconds("room") > 0 and seconds("long") > 0

        await world.until(are_known)
        for _ in range(2):
            assert 500 < seconds("room") <= 600 and 3500 < seconds("long") <= 3600, (seconds("room"), seconds("long"))
            # Who asks for the list has them opened, which makes it no shorter.
            assert await ids(world, a) == await ids(world, b, "long") == ["ada"]


def run_script(world, name, keys, arguments):
    """Runs one of the server's scripts, as the server does."""
    sources = Path(__file__).parents[2] / "src/bin/pushloop/broker"
    script = "".join((sources / it).read_text() for it in ("append.lua", f"{name}.lua"))
    return world.redis.ask("EVAL", script, str(len(keys)), *keys, *arguments)


async def a_lease_of_before_is_renewed_if_there_is_one(world):
    def renew(before):
        run_script(world, "lease", ["nodes", "over", "leases"], ["b", "15000", "1", "", "7000", "lists:", before])
        return world.redis.ask("ZSCORE", "nodes", "a")

    await world.begin(options=OPTIONS)
    assert renew("a") == ""
    world.redis.ask("ZADD", "nodes", "1", "a")
    assert renew("") == "1"
    assert renew("a") == world.redis.ask("ZSCORE", "nodes", "b") != "1"


async def leases_are_renewed_where_the_broker_is_full(world):
    """Otherwise, members of some nodes would leave where there is room now and then."""
    a, b = await world.begin(options=OPTIONS)

    def ends():
        words = world.redis.ask("ZRANGE", "pushloop:nodes:{$presence}", "0", "-1", "WITHSCORES").split()
        return dict(zip(words[::2], map(int, words[1::2])))

    async with enter(a, "ada"), enter(b, "ben"):
        await are_there(world, ["ada", "ben"])
        # A script that has deleted something may write: so it does with a topic that is new.
        await world.publish(a, "/t", "x")

        async def has_two():
            return len(ends()) == 2

        await world.until(has_two)
        before = ends()
        world.redis.ask("CONFIG", "SET", "maxmemory", "1")

        async def are_renewed():
            now = ends()
            return now.keys() == before.keys() and all(now[node] > before[node] + 3000 for node in now)

        await world.until(are_renewed)
        status, text = await world.ask(a, "POST", "/t", "x")
        assert status == 503 and "OOM" in text, text
        world.redis.ask("CONFIG", "SET", "maxmemory", "0")


CHECKS = [
    leases_are_renewed_where_the_broker_is_full,
    a_companion_topic_is_remembered_as_long_as_what_it_keeps_and_ten_minutes,
    a_lease_of_before_is_renewed_if_there_is_one,
    members_are_those_of_all_nodes,
    members_of_a_node_that_is_killed_leave_once,
    what_members_change_after_a_list_gives_the_next_one,
    a_broker_that_is_away_or_forgets_takes_no_member_along,
    a_lease_that_is_over_while_the_broker_stands_still_is_renewed,
    members_of_a_node_that_stands_still_leave_and_come_back_with_it,
    a_topic_has_as_many_members_as_it_may_over_all_nodes,
]
