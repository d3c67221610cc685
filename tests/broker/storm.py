"""A thousand topics, ten thousand publications a second, and a Redis that is killed under them."""

import asyncio
import json
import time

from world import DURABLE, FULL, KEEPS, Crowd, crowd

TOPICS, RATE, KILLS, AWAY = (1000, 10_000, 10, 10) if FULL else (100, 1000, 1, 1)  # away: seconds
LINES = 500


class Storm(Crowd):
    """Publishers of batches, each line with a key; what was not acknowledged goes into the next one."""

    silence = 15
    stops, stopped = False, 0

    async def publisher(self, first):
        nth, again, due = 0, [], time.monotonic()
        while not self.stops or again:
            new = range(nth, nth + (0 if self.stops else LINES - len(again)))
            lines = again + [((first + 4 * at) % self.topics, f"{first}.{at}") for at in new]
            nth, again = new.stop, []
            body = "".join(json.dumps({"topic": f"c/{topic}", "data": key, "key": key}) + "\n" for topic, key in lines)
            node = self.world.nodes[nth % len(self.world.nodes)]
            status, text = await self.world.ask(node, "POST", "/", body, Content_Type="application/x-ndjson")
            assert status in (200, 503, 504, None), (status, text)
            # The whole batch is refused in words.
            answers = [json.loads(line) for line in text.splitlines() if line.startswith("{")] if status else []
            for at, (topic, key) in enumerate(lines):
                if at < len(answers) and "id" in answers[at]:
                    self.acknowledged[topic].append((answers[at]["id"], key))
                else:
                    again.append((topic, key))
            if again:
                await asyncio.sleep(0.1)
            # What could not be published meanwhile is not made up for.
            due = max(due + 4 * LINES / self.rate, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
        self.stopped += 1

    async def is_complete(self):
        """Publishers have stopped, and subscribers had the last one of their topics."""
        return self.stopped == 4 and all(
            self.heard[topic, 0][-1:] and self.heard[topic, 0][-1][0] == max(all_, key=offset)[0]
            for topic, all_ in self.acknowledged.items()
        )


def offset(publication):
    return int(publication[0].split("-")[1])


async def a_thousand_topics_lose_nothing_that_was_acknowledged(world):
    await world.begin(redis=DURABLE, options=(*KEEPS, "--redis-durable"))
    slowest, away, began = 0, 0, time.monotonic()
    async with crowd(world, TOPICS, RATE, Storm, 1) as many:
        for _ in range(KILLS):
            await asyncio.sleep(3)
            away -= time.monotonic()
            world.redis.kill()
            await asyncio.sleep(AWAY)
            world.redis.start()
            await world.until(world.redis.answers)
            slowest = max([slowest, *[await world.ready(node) for node in world.nodes]])
            away += time.monotonic()
        await asyncio.sleep(3)
        took = time.monotonic() - began - away
        many.stops = True
        await world.until(many.is_complete, 60)
    many.judge()
    assert many.told == 0, f"{many.told} were told that something is lost"
    for topic, all_ in many.acknowledged.items():
        kept = world.redis.ask("XRANGE", f"pushloop:log:{{c/{topic}}}", "-", "+") + "\n"
        lost = [text for _, text in all_ if f" {text}\n" not in kept]
        assert not lost, f"topic {topic}: {lost[:3]} of {len(lost)}"
    acknowledged = sum(map(len, many.acknowledged.values()))
    print(
        f"figure a thousand topics: {acknowledged} acknowledged, {acknowledged / took:.0f} a second while there was a broker, "
        f"{sum(map(len, many.heard.values()))} delivered, {many.cuts} cuts; ready {slowest:.1f} s after the broker"
    )
    assert not FULL or slowest < 5
