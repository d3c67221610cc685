"""The echo example against a stock client: `websockets` from PyPI.

Usage: python echo.py SERVER [ARGUMENT]...   the command that starts the server; it prints its ws:// address

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import asyncio
import re
import subprocess
import sys

from websockets.asyncio.client import connect

PATIENCE = 10  # seconds, for one check


async def echoes(client, message):
    """The same bytes as the same kind: `str` is a text message, `bytes` a binary one."""
    await client.send(message)
    answer = await client.recv()
    if answer != message:
        raise AssertionError(f"{len(answer)} of {type(answer)} for {len(message)} of {type(message)}")


async def text(client):
    await echoes(client, "κόσμε 🦀")


async def binary(client):
    await echoes(client, bytes(range(256)))


def length(size):
    async def check(client):
        await echoes(client, "x" * size)
        await echoes(client, b"\xa5" * size)

    return check


async def fragments(client):
    await client.send(["one ", "", "message"])
    answer = await client.recv()
    assert answer == "one message", answer


async def ping(client):
    for payload in (b"", b"\xff" * 125):
        # The future is resolved only by a Pong with the same payload.
        await (await client.ping(payload))


async def pipelined(client):
    messages = [f"message {number}" for number in range(200)]
    for message in messages:
        await client.send(message)
    answers = [await client.recv() for _ in messages]
    assert answers == messages, "not the messages, or not in their order"


def close(code):
    async def check(client):
        await client.close(code, "done")
        assert client.close_code == code, client.close_code

    return check


CHECKS = {
    "text": text,
    "binary": binary,
    **{f"length {size}": length(size) for size in (0, 125, 126, 65_535, 65_536)},
    "fragments": fragments,
    "ping": ping,
    "pipelined": pipelined,
    "close 1000": close(1000),
    "close 4001": close(4001),
}


async def attempt(url, check):
    async with connect(url, proxy=None) as client:
        await check(client)


async def run(url):
    failed = False
    for name, check in CHECKS.items():
        try:
            await asyncio.wait_for(attempt(url, check), PATIENCE)
            print(f"ok websockets: {name}")
        except Exception as problem:  # whatever it is, the other checks still run
            failed = True
            print(f"FAIL websockets: {name}: {problem!r}")
    return failed


def main():
    with subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True) as server:
        try:
            found = (re.search(r"ws://[\w.:\[\]]+", line) for line in server.stdout)
            url = next((address.group() for address in found if address), None)
            if url is None:
                sys.exit("FAIL websockets: the server printed no address")
            return asyncio.run(run(url))
        finally:
            server.kill()


if __name__ == "__main__":
    sys.exit(main())
