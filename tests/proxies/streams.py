"""Event streams through a proxy: those of the server, and one of the small server for clients."""

import asyncio
import json
import signal
from contextlib import asynccontextmanager

import aiohttp


async def written(world):
    """Events of an application. Each is there before the next is asked for: nothing in between waits for more."""
    url = f"http://{world.address}/events"
    async with world.session.get(url) as answer, world.connect("/") as client:
        assert answer.content_type == "text/event-stream", answer
        for number in range(100):
            await client.send(f"event {number}")
            event = await answer.content.readuntil(b"\n\n")
            assert event == f"data: {number}\n\n".encode(), event
        await client.send("no more events")
        # It fails if the body is cut off.
        assert await answer.content.read() == b""


@asynccontextmanager
async def stream(world, topic, last=None):
    """What comes of a topic's stream: of one that comes back, with the id that it had last."""
    headers = {"Host": world.address, "Accept": "text/event-stream"}
    if last:
        headers["Last-Event-ID"] = last
    timeout = aiohttp.ClientTimeout(total=None)
    url = f"http://127.0.0.1:{world.port}{topic}"
    async with world.session.get(url, headers=headers, timeout=timeout) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream"), answer
        yield answer.content


async def event(content):
    """Name, id and data of the next event."""
    while True:
        lines = (await content.readuntil(b"\n\n")).decode().split("\n")
        fields = [line.partition(": ")[::2] for line in lines]
        data = [value for name, value in fields if name == "data"]
        if data:
            fields = dict(fields)
            return fields.get("event", "message"), fields["id"], "\n".join(data)


async def begins(content):
    name, id, data = await event(content)
    assert name == "subscribed", name
    told = json.loads(data)
    assert told["id"] == id, told
    return told


async def publish(world, topic, text):
    """By the proxy. Gives the id."""
    status, answer = await world.ask("POST", topic, text.encode())
    assert status == 200, answer
    return json.loads(answer)["id"]


async def served(world):
    """Each publication is there before the next one, and what was missed comes to one that comes back."""
    async with stream(world, "/live/scores") as content:
        assert (await begins(content))["recovered"] is None
        for text in [*(f"{number}\nof 100" for number in range(100)), "", "x" * 30_000]:
            last = await publish(world, "/scores", text)
            came = await event(content)
            assert came == ("message", last, text), came
    for number in range(10):
        await publish(world, "/scores", f"missed {number}")
    async with stream(world, "/scores", last) as content:
        told = await begins(content)
        assert (told["recovered"], told["id"]) == (True, last), told
        for number in range(10):
            assert (await event(content))[2] == f"missed {number}"
        last = await publish(world, "/scores", "live")
        assert await event(content) == ("message", last, "live")
    # One that has left is gone from the server, too.
    while (await world.ask("POST", "/scores", b""))[1].startswith('{"delivered":1'):
        await asyncio.sleep(0.05)
    await ends(world, last)


async def ends(world, last):
    """With the server: told to end, whole."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        async with stream(world, "/scores", last) as content:
            told = await begins(content)
            world.server.send_signal(how)
            try:
                await content.read()
            except aiohttp.ClientPayloadError as cut:
                assert how == signal.SIGKILL, cut
        await asyncio.to_thread(world.server.wait, 30)
        last = told["id"]
        world.start_server()
        await world.ready()
    async with stream(world, "/scores", last) as content:
        assert (await begins(content))["recovered"] is False
        await publish(world, "/scores", "again")
        assert (await event(content))[2] == "again"


async def idle(world):
    """Nothing is published for longer than the timeouts of the proxies, and the stream is still there."""
    async with stream(world, "/idle-stream") as content:
        await begins(content)
        comments = [await content.readuntil(b"\n\n") for _ in range(3)]
        assert comments == [b":\n\n"] * 3, comments
        status, answer = await world.ask("POST", "/idle-stream", b"still there")
        assert (status, answer) == (200, '{"delivered":1}\n'), answer
        assert (await event(content))[2] == "still there"
