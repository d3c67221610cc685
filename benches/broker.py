"""Publications through a Redis: how many in a second, and how much later they come.

Usage: python broker.py SERVER [SECONDS]
    SERVER is the pushloop binary. It needs redis-server, and the packages of tests/clients/requirements.txt.

Two servers share a Redis. Batches of 500 lines go to one, for one topic that one WebSocket at the other hears; beside it,
`redis-benchmark` runs the same script, as many at once as a batch of the server's has. Then single publications go one after
another, and each is timed until the other server's WebSocket has it: with the broker, and without one at a single
server. All of it in turns, five times; medians are printed, and the least and most.
"""

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/broker"))
from world import KEEPS, Node, World  # noqa: E402

LINES = 500
ROUNDS = 5
TIMED = 500


async def through_servers(world, seconds, payload):
    a, b = world.nodes
    line = json.dumps({"topic": "rate", "data": payload}) + "\n"
    got, ends = 0, time.monotonic() + seconds

    async def publisher():
        count = 0
        while time.monotonic() < ends:
            status, text = await world.ask(a, "POST", "/", line * LINES, Content_Type="application/x-ndjson")
            assert status == 200, text
            count += LINES
        return count

    async with b.connect("/rate", max_queue=None) as peer:
        began = time.monotonic()
        publishers = [asyncio.create_task(publisher()) for _ in range(4)]

        async def reader():
            nonlocal got
            while True:
                await peer.recv()
                got += 1

        reads = asyncio.create_task(reader())
        count = sum(await asyncio.gather(*publishers))
        took = time.monotonic() - began
        while got < count:
            await asyncio.sleep(0.01)
        reads.cancel()
    return count / took


def through_benchmark(world, payload):
    """The same script, by Redis' own program: of one connection, 256 at once."""
    folder = ROOT / "src/bin/pushloop/broker"
    script = (folder / "append.lua").read_text() + (folder / "publish.lua").read_text()
    sha = world.redis.ask("SCRIPT", "LOAD", script)
    run = re.search("run_id:(.*)", world.redis.ask("INFO", "server"))[1].strip()
    arguments = ("2", "p:topic:{b}", "p:log:{b}", run, "1", "0", "9999999999999", "1000", "300000", "2592000000", "p:news:{b}",
                 f"1 t 1700000000000 {payload}", "", "", "1")
    command = ["redis-benchmark", "-p", str(world.redis.port), "-c", "1", "-P", "256", "-n", "100000", "-q", "evalsha", sha, *arguments]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(re.findall(r"([\d.]+) requests per second", told)[-1])


async def latencies(world, here, there):
    async with there.connect("/late") as peer:
        times = []
        for _ in range(TIMED):
            began = time.perf_counter()
            answer = asyncio.create_task(world.ask(here, "POST", "/late", "x"))
            await peer.recv()
            times.append((time.perf_counter() - began) * 1000)
            assert (await answer)[0] == 200
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def show(name, values, unit):
    print(f"{name}: {statistics.median(values):,.2f} {unit} ({min(values):,.2f} to {max(values):,.2f})")


async def main():
    server, *seconds = sys.argv[1:]
    seconds = float(seconds[0]) if seconds else 3
    payload = "x" * 100
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        world = World(server, http)
        alone = subprocess.Popen([server, "--listen", "127.0.0.1:9391", "--history", "1000"], stdout=subprocess.DEVNULL)
        single = Node.__new__(Node)
        single.port = 9391
        try:
            a, b = await world.begin(options=("--history", "1000", *KEEPS[2:]))
            figures = {}
            for _ in range(ROUNDS):
                for name, value in (
                    ("servers", await through_servers(world, seconds, payload)),
                    ("redis-benchmark", through_benchmark(world, payload)),
                    ("broker", await latencies(world, a, b)),
                    ("alone", await latencies(world, single, single)),
                ):
                    figures.setdefault(name, []).append(value)
            show("publications through two servers and a Redis", figures["servers"], "a second")
            show("the same script by redis-benchmark", figures["redis-benchmark"], "a second")
            ratios = [ours / theirs for ours, theirs in zip(figures["servers"], figures["redis-benchmark"])]
            show("the one to the other", ratios, "times")
            for nth, part in enumerate(("half", "99 %")):
                for name in ("broker", "alone"):
                    show(f"{part} are heard within, {name}", [it[nth] for it in figures[name]], "ms")
        finally:
            alone.kill()
            alone.wait()
            world.end()


if __name__ == "__main__":
    os.chdir(ROOT)
    asyncio.run(main())
