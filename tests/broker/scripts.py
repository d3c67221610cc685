"""The scripts that Redis runs: what becomes of their order where it forgets them, and of leases where its clock is set."""

import asyncio
from pathlib import Path

from members import LEASE
from world import FULL, PATIENCE


async def scripts_that_are_forgotten_change_no_order(world):
    """A client that forgets all scripts again and again, and two nodes that load them again: what one publisher sends to
    one topic stays in its order, though many are sent in one go."""
    nodes = await world.begin()
    count, ends = 30_000 if FULL else 6_000, []

    async def forget():
        reader, writer = await asyncio.open_connection("127.0.0.1", world.redis.port)
        while not ends:
            writer.write(b"*2\r\n$6\r\nSCRIPT\r\n$5\r\nFLUSH\r\n")
            assert await reader.readline() == b"+OK\r\n"
            await asyncio.sleep(0.001)
        writer.close()

    async def send(node, topic):
        async with node.connect(topic) as peer:
            for nth in range(count):
                await peer.send(f"{nth:0>200}")
                if nth % 500 == 499:
                    await asyncio.sleep(0.05)

    async def hear(peer):
        told = []
        while not told or told[-1] != "end":
            told.append(await asyncio.wait_for(peer.recv(), PATIENCE))
        numbers = [int(it) for it in told[:-1]]
        assert numbers == sorted(set(numbers)), [it for it in zip(numbers, numbers[1:]) if it[0] >= it[1]][:5]
        return len(numbers)

    async with nodes[0].connect("/t0") as first, nodes[1].connect("/t1") as second:
        heard = [asyncio.create_task(hear(peer)) for peer in (first, second)]
        forgets = asyncio.create_task(forget())
        await asyncio.gather(*(send(node, f"/t{nth}") for nth, node in enumerate(nodes)))
        ends.append(True)
        await forgets
        for nth, node in enumerate(nodes):
            await world.publish(node, f"/t{nth}", "end")
        assert await asyncio.gather(*heard) == [count] * 2


async def a_clock_that_is_set_back_keeps_nobody_for_long(world):
    """The clock of Redis goes back by an hour: a node that renews is there, and one that does not is over when its lease would be."""

    def renew(now, node="a", is_new="0"):
        sources = Path(__file__).parents[2] / "src/bin/pushloop/broker"
        script = "".join((sources / f"{it}.lua").read_text() for it in ("append", "lease"))
        assert script.count("redis.call('TIME')") == 1
        script = script.replace("redis.call('TIME')", f"{{{now}, 0}}")
        arguments = (node, str(LEASE * 1000), is_new, "", "7000", "lists:", "")
        return world.redis.ask("EVAL", script, "3", "nodes", "over", "leases", *arguments).split()

    await world.begin(nodes=0)
    await world.until(world.redis.answers)
    now = 1_700_000_000
    assert renew(now, "a", "1") == renew(now, "b", "1") == ["held"]
    now += 3
    assert renew(now) == ["held"]
    now -= 3600
    told = []
    for passed in range(0, 40, 3):
        told.append(renew(now + passed))
    over = [nth * 3 for nth, it in enumerate(told) if it == ["held", "b"]]
    assert over[:1] == [LEASE], told
    assert all(it[0] == "held" for it in told), told


CHECKS = [scripts_that_are_forgotten_change_no_order, a_clock_that_is_set_back_keeps_nobody_for_long]
