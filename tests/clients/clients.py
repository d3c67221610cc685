"""The peer (peer.rs) against stock clients: `websockets` and `aiohttp` from PyPI.

Usage: python clients.py CLIENT SERVER [ARGUMENT]...
    CLIENT is websockets or aiohttp; the rest is the command that starts the peer, which prints its ws:// address
    Each check is made with compression and without; with `takeover` as the last argument, only with it.

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import asyncio
import os
import re
import subprocess
import sys
from contextlib import asynccontextmanager

import aiohttp
import websockets.asyncio.client

PATIENCE = 30  # seconds, for one check
MIB = 1 << 20


class Websockets:
    """What the checks need of a client. `str` is a text message, `bytes` a binary one."""

    def __init__(self, client):
        self.client = client
        self.send = client.send
        self.receive = client.recv
        self.subprotocol = client.subprotocol
        self.deflates = any(extension.name == "permessage-deflate" for extension in client.protocol.extensions)

    @classmethod
    @asynccontextmanager
    async def open(cls, url, deflate, protocols=None):
        compression = "deflate" if deflate else None
        connect = websockets.asyncio.client.connect
        async with connect(url, proxy=None, subprotocols=protocols, compression=compression) as client:
            yield cls(client)

    async def send_fragments(self, fragments):
        await self.client.send(fragments)

    async def ping(self, payload):
        # The future is resolved only by a Pong with the same payload.
        await (await self.client.ping(payload))

    async def close(self, code, reason):
        await self.client.close(code, reason)
        return self.client.close_code

    async def closed(self):
        await self.client.wait_closed()
        return self.client.close_code, self.client.close_reason


class Aiohttp:
    send_fragments = None  # it sends each message in one frame

    def __init__(self, client):
        self.client = client
        self.subprotocol = client.protocol
        self.deflates = client.compress > 0

    @classmethod
    @asynccontextmanager
    async def open(cls, url, deflate, protocols=()):
        async with aiohttp.ClientSession() as session:
            # With autoping it would answer Pings itself, and show no Pong.
            options = {"protocols": protocols, "compress": 15 if deflate else 0, "autoping": False}
            async with session.ws_connect(url, **options) as client:
                yield cls(client)

    async def send(self, message):
        await (self.client.send_str if isinstance(message, str) else self.client.send_bytes)(message)

    async def receive(self):
        while (message := await self.client.receive()).type == aiohttp.WSMsgType.PING:
            await self.client.pong(message.data)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        return message.data

    async def ping(self, payload):
        await self.client.ping(payload)
        answer = await self.client.receive()
        assert answer.type == aiohttp.WSMsgType.PONG and answer.data == payload, answer

    async def close(self, code, reason):
        await self.client.close(code=code, message=reason.encode())
        return self.client.close_code

    async def closed(self):
        end = await self.client.receive()
        assert end.type == aiohttp.WSMsgType.CLOSE, end
        return end.data, end.extra


async def ask(client, message):
    await client.send(message)
    return await client.receive()


async def echoes(client, message):
    answer = await ask(client, message)
    if answer != message:
        raise AssertionError(f"{len(answer)} of {type(answer)} for {len(message)} of {type(message)}")


def echo(*messages):
    async def check(open):
        async with open() as client:
            for message in messages:
                await echoes(client, message)

    return check


async def too_long(open):
    async with open() as client:
        await client.send(bytes(MIB + 1))
        code, _ = await client.closed()
        assert code == 1009, code


async def fragments(open):
    async with open() as client:
        await client.send_fragments(["one " * 1000, "", "message"])
        answer = await client.receive()
        assert answer == "one " * 1000 + "message", answer


async def ping(open):
    async with open() as client:
        for payload in (b"", b"\xff" * 125):
            await client.ping(payload)


async def server_pings(open):
    async with open() as client:
        answer = await ask(client, "pings")
        assert answer == "pings", answer


def pipelined(messages, window):
    """Each answer lets the next message out, while the answers to `window - 1` others are under way."""

    async def check(open):
        async with open() as client:
            free = asyncio.Semaphore(window)

            async def send():
                for message in messages:
                    await free.acquire()
                    await client.send(message)

            async def receive():
                for message in messages:
                    assert await client.receive() == message, "not the messages, or not in their order"
                    free.release()

            await asyncio.gather(send(), receive())

    return check


async def last_close(open):
    """How the server saw the end of the connection before."""
    async with open() as client:
        return await ask(client, "last close")


def close_by_client(code, reason):
    async def check(open):
        async with open() as client:
            answer = await client.close(code, reason)
            assert answer == code, answer
        seen = await last_close(open)
        assert seen == f"{code} {reason}", seen

    return check


async def close_by_server(open):
    async with open() as client:
        await client.send("close 4001 bye")
        end = await client.closed()
        assert end == (4001, "bye"), end
    seen = await last_close(open)
    assert seen == "4001 ", seen


def subprotocol(offered, chosen):
    async def check(open):
        async with open(protocols=offered) as client:
            assert client.subprotocol == chosen, client.subprotocol

    return check


async def costs(client, message):
    """What it costs to send a message and to get it back, in bytes on the wire."""
    before = await ask(client, "traffic")
    await echoes(client, message)
    after = await ask(client, "traffic")
    return [int(end) - int(start) for start, end in zip(before.split(), after.split())]


def traffic(deflate):
    async def check(open):
        async with open() as client:
            for cost in await costs(client, "0123456789abcdef" * (MIB // 16)):
                assert cost < MIB // 10 if deflate else cost > MIB, f"{cost} bytes for a message of {MIB}"

    return check


def takeover(mode):
    """Random digits, base 16, shrink to half; only a reference to the first time makes less of them. The client's
    messages refer back in any case, and the server's if it is told to."""

    async def check(open):
        digits = os.urandom(1024).hex()
        async with open() as client:
            await echoes(client, digits)
            for cost, refers in zip(await costs(client, digits), [mode != "plain", mode == "takeover"]):
                assert (cost < 512) == refers, f"{cost} bytes for a message of {len(digits)}"

    return check


def checks(client, mode):
    return {
        "text": echo("κόσμε 🦀"),
        "binary": echo(bytes(range(256))),
        **{f"length-{size}": echo("x" * size, b"\xa5" * size) for size in (0, 125, 126, 65_535, 65_536, MIB)},
        "too-long": too_long,
        **({"fragments": fragments} if client.send_fragments else {}),
        "ping": ping,
        "server-pings": server_pings,
        "pipelined": pipelined([f"message {number}" for number in range(200)], 200),
        "duplex": pipelined([os.urandom(MIB) for _ in range(16)], 4),
        "close-by-client-1000": close_by_client(1000, "done"),
        "close-by-client-4001": close_by_client(4001, "κόσμε"),
        "close-by-server": close_by_server,
        "subprotocol-chosen": subprotocol(["chat.v1", "chat.v2"], "chat.v2"),
        # Both clients go on without one.
        "subprotocol-refused": subprotocol(["chat.v1"], None),
        "traffic": traffic(mode != "plain"),
        "takeover": takeover(mode),
    }


def opener(client, url, deflate):
    @asynccontextmanager
    async def open(**options):
        async with client.open(url, deflate, **options) as opened:
            assert opened.deflates == deflate, "not the extensions that were asked for"
            yield opened

    return open


async def run(client, url, modes):
    failed = False
    for mode in modes:
        for check, attempt in checks(client, mode).items():
            name = f"{client.__name__.lower()}-{mode}-{check}"
            try:
                await asyncio.wait_for(attempt(opener(client, url, mode != "plain")), PATIENCE)
                print(f"ok {name}")
            except Exception as problem:  # whatever it is, the other checks still run
                failed = True
                print(f"FAIL {name}: {problem!r}")
    return failed


def main():
    client = {"websockets": Websockets, "aiohttp": Aiohttp}[sys.argv[1]]
    modes = ["takeover"] if sys.argv[-1] == "takeover" else ["plain", "deflate"]
    with subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE, text=True) as server:
        try:
            found = (re.search(r"ws://[\w.:\[\]]+", line) for line in server.stdout)
            url = next((address.group() for address in found if address), None)
            if url is None:
                sys.exit(f"FAIL {sys.argv[1]}: the server printed no address")
            return asyncio.run(run(client, url, modes))
        finally:
            server.kill()


if __name__ == "__main__":
    sys.exit(main())
