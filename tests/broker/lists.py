"""Lists of members that are long, and what asking for them costs Redis."""

import asyncio
import functools
import json
import random
from pathlib import Path

import scripts
from members import LEASE, OPTIONS, after, enter, ids, leads, listed
from world import FULL


class Feigned:
    """A node that is none: what it tells Redis of its members, it tells as fast as Redis takes it."""

    def __init__(self, world, rooms):
        self.world, self.rooms, self.told, self.ends = world, rooms, 0, False
        ask = world.redis.ask
        run = ask("INFO", "server").split("run_id:")[1].split()[0]
        self.run = run + "-" + ask("INFO", "replication").split("master_replid:")[1].split()[0]
        sources = Path(__file__).parents[2] / "src/bin/pushloop/broker"
        both = (sources / "append.lua").read_text()
        self.scripts = [ask("SCRIPT", "LOAD", both + (sources / f"{it}.lua").read_text()) for it in ("enter", "leave")]
        self.renewal = asyncio.create_task(self.renew())
        self.there = {room: set() for room in rooms}

    async def renew(self):
        while not self.ends:
            lease = str(int(self.world.redis.ask("TIME").split()[0]) * 1000 + LEASE * 1000)
            self.world.redis.ask("ZADD", "pushloop:nodes:{$presence}", lease, "feigned")
            await asyncio.sleep(1)

    def command(self, room, member):
        place, nodes = f"{{$presence}}/{room}", "{$presence}"
        keys = [f"{it}:{place}" for it in ("topic", "log", "members", "counts")]
        keys += [f"held:{place}:feigned", f"nodes:{nodes}", f"lists:{nodes}:feigned"]
        common = [self.run, "7", "0", "9e15", "100000", "600000", "600000", f"pushloop:news:{place}", "feigned", room, "600000"]
        there = self.there[room]
        is_join = member not in there
        there.symmetric_difference_update([member])
        last = [json.dumps(f"m{member}"), str(member), "1000000"] if is_join else [json.dumps(f"m{member}"), "0"]
        words = ["EVALSHA", self.scripts[not is_join], "7", *(f"pushloop:{key}" for key in keys), *common, *last]
        return f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)

    async def change(self, changes):
        """Has these come that are not there, and the others go."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.world.redis.port)
        for first in range(0, len(changes), 20):
            some = changes[first : first + 20]
            writer.write("".join(self.command(*it) for it in some).encode())
            lines = 0
            while lines < len(some):
                line = await reader.readline()
                assert line and not line.startswith(b"-"), line
                lines += line == b"done\r\n"
            self.told += len(some)
        writer.close()

    async def go_on(self, members, dice):
        while not self.ends:
            await self.change([(dice.choice(self.rooms), dice.randrange(members)) for _ in range(20)])
            await asyncio.sleep(0.01)


def calls(world, command):
    """How often Redis has carried out a command."""
    lines = world.redis.ask("INFO", "commandstats").splitlines()
    found = [line for line in lines if line.startswith(f"cmdstat_{command}:")]
    return int(found[0].split("calls=")[1].split(",")[0]) if found else 0


async def a_count_reads_no_list_and_a_list_is_read_in_portions(world):
    a, b = await world.begin(options=OPTIONS)
    feigned = Feigned(world, ["room"])
    await asyncio.sleep(0)
    await feigned.change([("room", nth) for nth in range(9_999)])
    async with enter(b, "ada"):

        async def has_all():
            return json.loads((await world.ask(a, "GET", "/room?presence=count"))[1])["count"] == 10_000

        await world.until(has_all)
        told = json.loads((await world.ask(b, "GET", "/room?presence=count"))[1])
        assert told["count"] == 10_000 and told["id"].endswith("-10000"), told
        assert calls(world, "hscan") == calls(world, "hgetall") == 0
        for nth, node in enumerate((a, b, a), 1):
            found = await ids(world, node)
            assert sorted(found) == sorted(["ada", *(f"m{nth}" for nth in range(9_999))])
            assert 10 * min(nth, 2) <= calls(world, "hscan") <= 21 * min(nth, 2), calls(world, "hscan")
        assert calls(world, "hgetall") == 0


async def those_that_come_and_go_while_a_list_is_read_are_in_it_once(world):
    """Each room is asked for once at each node, so that all lists are read, while thousands a second come and go."""
    rooms = [f"r{nth}" for nth in range(40 if FULL else 8)]
    a, b = await world.begin(options=(*OPTIONS, "--history", "100000", "--history-bytes", "100000000"))
    feigned, dice = Feigned(world, rooms), random.Random(1)
    await asyncio.sleep(0)
    await feigned.change([(room, nth) for room in rooms for nth in range(3000)])
    tasks = [asyncio.create_task(feigned.go_on(6000, dice)) for _ in range(2)]
    compared, during = 0, 0
    for room in rooms:
        before = feigned.told
        # One that is not told in time is asked for again.
        asked = (world.until(functools.partial(listed, world, node, room)) for node in (a, b))
        first, then = (found for found, _ in await asyncio.gather(*asked))
        during += feigned.told - before
        first, then = sorted((first, then), key=lambda it: int(it["id"].split("-")[1]))
        async with after(a, first, room) as peer:
            compared += await leads(peer, first, then)
    feigned.ends = True
    await asyncio.gather(*tasks)
    for room in rooms:
        expected = sorted(f"m{nth}" for nth in feigned.there[room])

        async def are_all():
            return [await ids(world, node, room) for node in (a, b)] == [expected] * 2

        await world.until(are_all)
    assert compared > len(rooms) / 2 and during > 10 * len(rooms), (compared, during)


CHECKS = [
    a_count_reads_no_list_and_a_list_is_read_in_portions,
    those_that_come_and_go_while_a_list_is_read_are_in_it_once,
    *scripts.CHECKS,
]
