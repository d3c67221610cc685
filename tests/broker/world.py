"""A Redis that is really there, servers that share it, and a crowd that publishes to them and subscribes."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import traceback
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import websockets.asyncio.client as websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

PATIENCE = 30  # seconds, for anything that is waited for
FULL = bool(os.environ.get("FULL"))
# A Redis that loses nothing that it has acknowledged.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
KEEPS = ("--history", "10000", "--anyone-may-publish")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


async def closes(peer, code):
    """It is closed with this code, whatever it is told before."""
    try:
        while True:
            await asyncio.wait_for(peer.recv(), PATIENCE)
    except ConnectionClosed as closed:
        assert closed.rcvd and closed.rcvd.code == code, closed


async def closes_at_once(peer, code):
    """It is closed with this code, and told nothing before."""
    try:
        told = await asyncio.wait_for(peer.recv(), PATIENCE)
        raise AssertionError(f"told {told}, and not closed")
    except ConnectionClosed as closed:
        assert closed.rcvd and closed.rcvd.code == code, closed


def why(error):
    """What went wrong; of an assertion that does not say so, which one it is."""
    return f"{type(error).__name__} {error or traceback.extract_tb(error.__traceback__)[-1].line}"


class Redis:
    """A Redis of its own, with its files in a folder of its own."""

    def __init__(self, *options):
        self.folder = Path(tempfile.mkdtemp(prefix="pushloop-"))
        self.port, self.options = free_port(), options
        self.start()

    def start(self):
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "")
        self.process = subprocess.Popen(
            ["redis-server", *place, *self.options], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def ask(self, *words):
        """What redis-cli prints. A sentinel ends all connections of a Redis that it promotes: then it is asked again."""
        run = ["redis-cli", "-p", str(self.port), *words]
        for _ in range(2):
            asked = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE)
            if asked.returncode == 0:
                break
        asked.check_returncode()
        return asked.stdout.strip()

    async def answers(self):
        """Once it has read its files."""
        try:
            return self.ask("PING") == "PONG"
        except subprocess.SubprocessError:
            return False

    def end(self):
        self.go_on()
        self.kill()
        shutil.rmtree(self.folder)


class Node:
    """A server at that Redis, or at another way to it."""

    def __init__(self, server, redis, options=KEEPS, url=None):
        self.port = free_port()
        self.log = tempfile.TemporaryFile("w+")
        url = url or f"redis://127.0.0.1:{redis.port}"
        self.process = subprocess.Popen(
            [server, "--listen", f"127.0.0.1:{self.port}", "--redis", url, *options],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )

    def end(self):
        self.process.kill()
        self.process.wait(PATIENCE)
        self.log.close()

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def connect(self, path, **options):
        return websocket.connect(f"ws://127.0.0.1:{self.port}{path}", proxy=None, open_timeout=PATIENCE, **options)


class World:
    """A Redis, and so many nodes that are ready."""

    def __init__(self, server, http):
        self.server, self.http = server, http
        self.redis, self.nodes, self.folders = None, [], []

    def folder(self):
        """A new folder, which is there as long as the world is."""
        folder = Path(tempfile.mkdtemp(prefix="pushloop-"))
        self.folders.append(folder)
        return folder

    async def begin(self, nodes=2, redis=(), options=KEEPS):
        self.redis = Redis(*redis)
        self.nodes = [Node(self.server, self.redis, options) for _ in range(nodes)]
        for node in self.nodes:
            await self.ready(node)
        return self.nodes

    def end(self):
        for node in self.nodes:
            node.end()
        if self.redis:
            self.redis.end()
        for folder in self.folders:
            shutil.rmtree(folder)

    async def ask(self, node, method, path, body=None, **headers):
        """Status and text of an answer; no status if there is none."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{node.port}{path}"
        try:
            async with self.http.request(method, url, data=body, headers=fields) as answer:
                return answer.status, (await answer.text()).strip()
        except aiohttp.ClientError as error:
            return None, str(error)

    async def publish(self, node, path, body, **headers):
        status, text = await self.ask(node, "POST", path, body, **headers)
        assert status == 200, f"{status} {text}"
        return json.loads(text)

    async def until(self, what, seconds=PATIENCE):
        """Waits for something to be so; gives what it is, and after how many seconds."""
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            found = await what()
            if found:
                return found, time.monotonic() - began
            await asyncio.sleep(0.02)
        raise AssertionError(f"not within {seconds} s")

    async def ready(self, node, seconds=PATIENCE):
        async def is_ready():
            return (await self.ask(node, "GET", "/readyz"))[0] == 200

        return (await self.until(is_ready, seconds))[1]

    async def figure(self, node, name):
        _, text = await self.ask(node, "GET", "/metrics")
        found = [line.split()[1] for line in text.splitlines() if line.split(" ")[0] in (name, f"{name}_total")]
        assert found, f"no metric {name}"
        return int(float(found[0]))


class Crowd:
    """Publishers that try again with the same key, and subscribers that come back, at all nodes."""

    silence = 0.5  # seconds, after which a subscriber connects anew

    def __init__(self, world, topics, rate):
        self.world, self.topics, self.rate = world, topics, rate
        self.acknowledged = {topic: [] for topic in range(topics)}
        self.heard = {}
        self.silent, self.told, self.ends, self.cuts = [], 0, False, 0

    async def publisher(self, first):
        nth = 0
        while not self.ends:
            topic = (first + nth) % self.topics
            node = self.world.nodes[nth % len(self.world.nodes)]
            text = f"{first}.{nth}"
            while not self.ends:
                status, answer = await self.world.ask(node, "POST", f"/c/{topic}", text, Idempotency_Key=text)
                if status == 200:
                    self.acknowledged[topic].append((json.loads(answer)["id"], text))
                    break
                assert status in (None, 503, 504), (status, answer)
                await asyncio.sleep(0.05)
            nth += 1
            await asyncio.sleep(1 / self.rate)

    async def subscriber(self, topic, nth):
        """Hears a topic, with envelopes, and comes back to where it was."""
        place, had = None, self.heard.setdefault((topic, nth), [])
        while not self.ends:
            node = self.world.nodes[(topic + nth + self.cuts) % len(self.world.nodes)]
            after = f"&after={place}" if place else ""
            try:
                async with node.connect(f"/c/{topic}?envelope=json{after}") as peer:
                    while not self.ends:
                        async with asyncio.timeout(self.silence):
                            told = json.loads(await peer.recv())
                        if "data" in told:
                            had.append((told["id"], told["data"]))
                        elif told.get("recovered") is False:
                            self.told += 1
                            had.append((told["id"], None))
                        place = told["id"]
            except (ConnectionClosed, InvalidStatus, OSError, asyncio.TimeoutError):
                self.cuts += 1
                await asyncio.sleep(0.05)

    def judge(self):
        """Each subscriber had each publication once and in order, or was told that it did not."""
        for (topic, _), had in self.heard.items():
            before = None
            for place, data in had:
                epoch, offset = place.split("-")
                offset = int(offset)
                if data is not None and before and before[0] == epoch:
                    assert offset == before[1] + 1, f"topic {topic}: {offset} follows {before[1]}"
                elif data is not None and before:
                    raise AssertionError(f"topic {topic}: another life, and nothing was told")
                before = (epoch, offset)
        for topic, all_ in self.acknowledged.items():
            assert len({place for place, _ in all_}) == len(all_), "one place, two publications"


@asynccontextmanager
async def crowd(world, topics, rate, kind=Crowd, subscribers=2):
    it = kind(world, topics, rate)
    tasks = [asyncio.create_task(it.subscriber(topic, nth)) for topic in range(topics) for nth in range(subscribers)]
    tasks += [asyncio.create_task(it.publisher(first)) for first in range(4)]
    try:
        yield it
    finally:
        await asyncio.sleep(1)
        it.ends = True
        await asyncio.gather(*tasks)
