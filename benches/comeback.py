"""Clients of a server that is killed come back to another one.

Usage: python comeback.py SERVER [CLIENTS]
    SERVER is the pushloop binary. It needs redis-server, and the packages of tests/clients/requirements.txt.

Two servers share a Redis; CLIENTS (20,000) WebSockets, spread over TOPICS topics, are at one of them. Publications go on all
the time, one in five seconds to each topic. The server is killed (SIGKILL); each client waits for two to four seconds, at
random, as browsers are told to (--retry), and comes back to the other server with the position that it had. It is back once it
was told that nothing was missed. All clients are in one process of Python, which has more work than the servers.

Prints after how long half of them are back, 99 % and all, what any of them missed or had twice, and how many
histories were read at Redis, which is asked once for a topic, however many want it.
"""

import asyncio
import gc
import json
import os
import random
import re
import resource
import sys
import time
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/broker"))
from world import World  # noqa: E402

TOPICS = 200
RATE = 0.2
OPTIONS = ("--history", "10000", "--anyone-may-publish")
ENVELOPE = re.compile(rb'"id":"([0-9a-f]+)-(\d+)"(?:,"(recovered)":(\w+))?')


class Client(asyncio.Protocol):
    """A WebSocket that reads envelopes, with no more than that takes."""

    def __init__(self, crowd, nth):
        self.crowd, self.nth, self.topic = crowd, nth, nth % TOPICS
        self.place, self.back = None, None
        self.missed = self.doubled = 0

    async def connect(self, port):
        loop = asyncio.get_running_loop()
        self.rest, self.is_open = b"", False
        while True:
            try:
                # The kernel looks for a free port longer and longer, the more of an address are in use.
                source = (f"127.0.1.{1 + self.nth % 50}", 0)
                return await loop.create_connection(lambda: self, "127.0.0.1", port, local_addr=source)
            except OSError:
                await asyncio.sleep(0.1)

    def connection_made(self, transport):
        self.transport = transport
        after = f"&after={self.place[0].decode()}-{self.place[1]}" if self.place else ""
        transport.write(
            f"GET /t/{self.topic}?envelope=json{after} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def data_received(self, data):
        data = self.rest + data
        if not self.is_open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self.rest = head
                return
            self.is_open = head.startswith(b"HTTP/1.1 101")
            if not self.is_open:
                self.crowd.refused += 1
                self.transport.close()
                return
        while len(data) >= 2:
            # Server's frames have no masks (RFC 6455 §5.2); these are short.
            length, start = data[1], 2
            if length == 126 and len(data) >= 4:
                length, start = int.from_bytes(data[2:4], "big"), 4
            if len(data) < start + length:
                break
            if data[0] == 0x81:
                self.take(data[start:start + length])
            elif data[0] == 0x89:
                self.transport.write(b"\x8a" + bytes([0x80 | length, 0, 0, 0, 0]) + data[start:start + length])
            data = data[start + length:]
        self.rest = data

    def take(self, message):
        epoch, offset, told, recovered = ENVELOPE.search(message).groups()
        offset = int(offset)
        if told:
            if self.place and recovered != b"true":
                self.missed += 1
            self.back = time.monotonic()
        elif self.place:
            self.missed += max(0, offset - self.place[1] - 1)
            self.doubled += offset <= self.place[1]
        self.place = (epoch, offset)

    def connection_lost(self, _):
        if not self.crowd.ends:
            self.crowd.lost(self)


class Crowd:
    def __init__(self, count):
        self.clients = [Client(self, nth) for nth in range(count)]
        self.ends, self.refused, self.tasks = False, 0, set()

    async def open(self, port, at_once=500):
        for first in range(0, len(self.clients), at_once):
            await asyncio.gather(*(it.connect(port) for it in self.clients[first:first + at_once]))
        while not all(it.back for it in self.clients):
            await asyncio.sleep(0.1)

    def lost(self, client):
        async def come_back():
            await asyncio.sleep(2 + 2 * random.random())
            await client.connect(self.port)

        task = asyncio.create_task(come_back())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


async def publish(world, node, crowd):
    """One request for a publication to each topic, as often as it is to be."""
    while not crowd.ends:
        began = time.monotonic()
        lines = "".join(json.dumps({"topic": f"t/{topic}", "data": "Goal!"}) + "\n" for topic in range(TOPICS))
        status, text = await world.ask(node, "POST", "/", lines, Content_Type="application/x-ndjson")
        assert status == 200, text
        await asyncio.sleep(max(0, began + 1 / RATE - time.monotonic()))


def scripts(world):
    """How often histories were read in Redis."""
    told = world.redis.ask("INFO", "commandstats")
    return sum(int(calls) for calls in re.findall(r"cmdstat_x(?:rev)?range:calls=(\d+)", told))


async def main():
    server, *count = sys.argv[1:]
    count = int(count[0]) if count else 20_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < count + 200:
        sys.exit(f"a process may have {hard} descriptors here, which is too few for {count} clients")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        world = World(server, http)
        try:
            a, b = await world.begin(options=OPTIONS)
            crowd = Crowd(count)
            await crowd.open(a.port)
            publisher = asyncio.create_task(publish(world, b, crowd))
            await asyncio.sleep(2)
            for client in crowd.clients:
                client.back = None
            crowd.port, reads = b.port, scripts(world)
            began = time.monotonic()
            a.process.kill()
            while not all(it.back for it in crowd.clients) and time.monotonic() < began + 120:
                assert not publisher.done(), publisher.exception()
                await asyncio.sleep(0.05)
            reads = scripts(world) - reads
            await asyncio.sleep(2)
            crowd.ends = True
            await publisher
            back = sorted(it.back - began for it in crowd.clients if it.back)
            assert len(back) == count, f"{count - len(back)} are not back"
            half, most = back[count // 2], back[count * 99 // 100]
            print(f"{count:,} clients of {TOPICS} topics: half are back within {half:.1f} s, 99 % within {most:.1f}, all within {back[-1]:.1f}")
            missed, doubled = (sum(getattr(it, name) for it in crowd.clients) for name in ("missed", "doubled"))
            print(f"missed: {missed}, had twice: {doubled}, refused for now: {crowd.refused}, histories read: {reads}")
        finally:
            world.end()
    sys.exit(missed + doubled)


if __name__ == "__main__":
    os.chdir(ROOT)
    # It would go through all clients again and again, and find nothing.
    gc.disable()
    asyncio.run(main())
