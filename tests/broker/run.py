"""Servers that share a Redis that is really there.

Usage: python run.py SERVER [CHECK]...
    SERVER is the pushloop binary; without names of checks, all are run. FULL=1 in the environment runs them longer.

It needs root: it has network namespaces, in which it cuts servers off. Checks wait more than they compute, so that several run
at once, each of them in a namespace of its own (FULL=1: one after the other).

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import channels
import clusters
import doors
import failover
import lists
import loops
import members
import orders
import storm
import webhooks
from websockets.exceptions import ConnectionClosed, InvalidStatus
from world import DURABLE, FULL, KEEPS, PATIENCE, Node, Redis, World, closes_at_once, crowd, free_port, why

AT_ONCE = 1 if FULL else 3


async def heard(peer, count):
    return [await asyncio.wait_for(peer.recv(), PATIENCE) for _ in range(count)]


async def nodes_share_topics(world):
    a, b = await world.begin()
    async with a.connect("/t") as one, b.connect("/t") as two, b.connect("/other") as other:
        ids = [(await world.publish(node, "/t", f"{nth}"))["id"] for nth, node in enumerate([a, b, a])]
        await two.send("three")
        await world.publish(a, "/other", "x")
        expected = ["0", "1", "2", "three"]
        assert await heard(one, 4) == expected and await heard(two, 4) == expected
        assert await heard(other, 1) == ["x"]
    epoch = ids[0].split("-")[0]
    assert ids == [f"{epoch}-{offset}" for offset in (1, 2, 3)], ids
    # Missed at one, had at the other.
    async with b.connect(f"/t?after={ids[1]}") as peer:
        assert await heard(peer, 2) == ["2", "three"]
    async with a.connect("/t?last=3&envelope=json") as peer:
        told = [json.loads(it) for it in await heard(peer, 4)]
        assert [it.get("data") for it in told[1:]] == ["1", "2", "three"], told
    async with a.connect(f"/t?after={epoch}-999&envelope=json") as peer:
        told = json.loads((await heard(peer, 1))[0])
        assert told["recovered"] is False and "ahead" in told["why"], told
    binary = bytes(range(256))
    async with a.connect("/binary") as peer:
        await world.publish(b, "/binary", binary, Content_Type="application/octet-stream")
        assert await heard(peer, 1) == [binary]


async def what_is_kept_outlives_nodes(world):
    a, b = await world.begin()
    ids = [(await world.publish(a, "/t", f"{nth}"))["id"] for nth in range(5)]
    a.end()
    # One that was never subscribed to the topic, and one that is new.
    late = Node(world.server, world.redis)
    world.nodes[0] = late
    await world.ready(late)
    for node in (b, late):
        async with node.connect(f"/t?after={ids[1]}") as peer:
            assert await heard(peer, 3) == ["2", "3", "4"]
    assert (await world.publish(late, "/t", "5"))["id"] == ids[0].rsplit("-", 1)[0] + "-6"


async def no_more_is_read_of_a_history_than_is_kept(world):
    a, b = await world.begin(options=(*KEEPS, "--history-bytes", "1000000"))
    sizes = [50_000] * 40 + [10] * 300
    for nth, size in enumerate(sizes):
        await world.publish(a, "/t", f"{nth:.<{size}}")
    async with b.connect("/t?last=340&envelope=json") as peer:
        first = int(json.loads((await heard(peer, 1))[0])["id"].rsplit("-", 1)[1])
        assert 20 <= first <= 30, f"offset {first} is before what is kept"
        texts = [json.loads(it)["data"] for it in await heard(peer, 340 - first)]
        assert [int(it.rstrip(".")) for it in texts] == list(range(first, 340))
    # The broker itself sends little more, forwards and backwards, and all of it to those that want as much.
    script = (Path(__file__).parents[2] / "src/bin/pushloop/broker/open.lua").read_text()
    # Its own run: under another one, a node that looks after the topic would begin it anew.
    server = world.redis.ask("INFO", "server").splitlines()
    run = next(line.removeprefix("run_id:").strip() for line in server if line.startswith("run_id:"))
    run += "-" + world.redis.ask("INFO", "replication").split("master_replid:")[1].split()[0]
    for wanted, size, expected in (("", 10**6, 339), ("1-0", 10**6, 64), ("1-0", 10**8, 340), ("", 10**8, 340)):
        arguments = (run, "2", "1", "10000", wanted, "1000000", str(size))
        told = world.redis.ask("EVAL", script, "2", "pushloop:topic:{t}", "pushloop:log:{t}", *arguments)
        count = sum(line.endswith("-0") for line in told.splitlines())
        assert count <= expected and (count == 340) == (size > 10**6), f"{count} of {size} bytes from {wanted}"
    async with b.connect("/t?after=0000000000000000-1&envelope=json") as peer:
        assert json.loads((await heard(peer, 1))[0])["recovered"] is False


async def a_key_publishes_once_at_any_node(world):
    a, b = await world.begin()
    async with a.connect("/t") as peer:
        answers = [await world.publish(node, "/t", "x", Idempotency_Key="k") for node in (a, b, a)]
        assert len({it["id"] for it in answers}) == 1, answers
        first = answers[0]["id"]
        status, text = await world.ask(b, "POST", "/t", "y", If_Match=first[:-1] + "9")
        assert status == 412, text
        second = await world.publish(b, "/t", "y", If_Match=first)
        assert await heard(peer, 2) == ["x", "y"] and second["id"].endswith("-2")
    status, text = await world.ask(
        b, "POST", "/", '{"topic":"t","data":"1"}\n{"topic":"u","data":"2"}\n{"x":1}\n',
        Content_Type="application/x-ndjson",
    )
    lines = [json.loads(line) for line in text.splitlines()]
    assert status == 400 and [line.get("line") for line in lines] == [None, None, 3], (status, text)
    assert (await world.ask(a, "POST", "/t", "z", Prefer="respond-async"))[0] == 202


async def what_is_published_once_a_subscriber_is_open_reaches_it(world):
    nodes = await world.begin()

    async def open_and_publish(nth):
        topic = f"/open/{nth}"
        here, there = nodes[nth % 2], nodes[(nth + 1) % 2]
        async with here.connect(topic) as peer:
            await world.publish(there, topic, f"{nth}")
            assert await heard(peer, 1) == [f"{nth}"]

    for first in range(0, 20_000 if FULL else 600, 50):
        await asyncio.gather(*(open_and_publish(nth) for nth in range(first, first + 50)))
    # Those that nobody subscribes to are no longer heard; nodes give each other orders.
    async def is_left():
        heard = world.redis.ask("PUBSUB", "CHANNELS", "pushloop:news:*").splitlines()
        return world.redis.ask("PUBSUB", "NUMPAT") == "0" and heard == ["pushloop:news:{\x01orders}"]

    await world.until(is_left)


async def a_broker_that_is_killed_loses_nothing_that_it_acknowledged(world):
    await world.begin(redis=DURABLE, options=(*KEEPS, "--redis-durable"))
    slowest = 0
    async with crowd(world, 20, 200) as many:
        for _ in range(10 if FULL else 2):
            await asyncio.sleep(1)
            world.redis.kill()
            await asyncio.sleep(10 if FULL else 1)
            world.redis.start()
            slowest = max([slowest, *[await world.ready(node) for node in world.nodes]])
    many.judge()
    assert many.told == 0, f"{many.told} were told that something is lost"
    # What was acknowledged is what is kept.
    for topic, all_ in many.acknowledged.items():
        entries = world.redis.ask("XLEN", f"pushloop:log:{{c/{topic}}}")
        assert int(entries) >= len(all_), f"topic {topic}: {entries} are kept of {len(all_)}"
        kept = world.redis.ask("XRANGE", f"pushloop:log:{{c/{topic}}}", "-", "+")
        lost = [text for _, text in all_ if f" {text}\n" not in kept + "\n"]
        assert not lost, f"topic {topic}: {lost[:3]} of {len(lost)}"
    acknowledged = sum(map(len, many.acknowledged.values()))
    delivered = sum(map(len, many.heard.values()))
    print(f"figure killed: {acknowledged} acknowledged, {delivered} delivered, {many.cuts} cuts; ready after {slowest:.1f} s")
    assert delivered >= acknowledged > 0
    assert not FULL or slowest < 5, f"ready {slowest:.1f} s after the broker"


async def a_broker_that_forgets_is_noticed(world):
    a, b = await world.begin()
    async with a.connect("/t?envelope=json") as one, b.connect("/quiet?envelope=json") as two:
        place = (await world.publish(b, "/t", "x"))["id"]
        await heard(one, 2)
        await heard(two, 1)
        world.redis.ask("FLUSHALL")
        for peer in (one, two):
            await closes_at_once(peer, 1013)
    async with b.connect(f"/t?after={place}&envelope=json") as peer:
        assert json.loads((await heard(peer, 1))[0])["recovered"] is False
        await world.publish(a, "/t", "y")
        assert json.loads((await heard(peer, 1))[0])["data"] == "y"


async def a_broker_that_starts_again_without_its_data_is_noticed(world):
    """Also where an old copy of it comes back, with offsets that were given since."""
    a, b = await world.begin()
    places = [(await world.publish(a, "/t", f"{nth}"))["id"] for nth in range(3)]
    world.redis.ask("SAVE")
    places += [(await world.publish(a, "/t", f"{nth}"))["id"] for nth in range(3, 6)]
    world.redis.kill()
    world.redis.start()
    for node in (a, b):
        await world.ready(node)
    new = [(await world.publish(b, "/t", f"new {nth}"))["id"] for nth in range(5)]
    assert not {place.split("-")[0] for place in new} & {places[0].split("-")[0]}, (places, new)
    async with a.connect(f"/t?after={places[4]}&envelope=json") as peer:
        assert json.loads((await heard(peer, 1))[0])["recovered"] is False


async def a_broker_that_stands_still_runs_nothing_late(world):
    a, b = await world.begin()
    async with a.connect("/t") as peer, a.connect("/$local") as local:
        await world.publish(b, "/t", "before")
        world.redis.pause()
        began = time.monotonic()
        answers = [await world.ask(b, "POST", "/t", f"{nth}") for nth in range(3)]
        took = time.monotonic() - began
        assert {status for status, _ in answers} <= {503, 504} and took < 8, (answers, took)

        async def is_down():
            return (await world.ask(a, "GET", "/readyz"))[0] == 503

        await world.until(is_down)
        status, text = await world.ask(a, "POST", "/t", "down")
        assert (status, text) == (503, "the broker cannot be reached: it was not published"), text
        try:
            async with a.connect("/new"):
                raise AssertionError("a topic that cannot be heard was subscribed to")
        except InvalidStatus as refused:
            assert refused.response.status_code == 503
        await asyncio.sleep(30 if FULL else 3)
        world.redis.go_on()
        slowest = max([await world.ready(node) for node in (a, b)])
        await world.publish(b, "/t", "after")
        assert await heard(peer, 2) == ["before", "after"]
        assert local.state.name == "OPEN"
    print(f"figure stands still: ready after {slowest:.1f} s")


async def foreign_data_full_and_read_only_brokers_are_told_of(world):
    a, b = await world.begin()
    world.redis.ask("SET", "pushloop:topic:{foreign}", "1")
    status, text = await world.ask(a, "POST", "/foreign", "x")
    assert status == 503 and "WRONGTYPE" in text, text
    try:
        async with a.connect("/foreign"):
            raise AssertionError("it was opened")
    except InvalidStatus as refused:
        assert refused.response.status_code == 503 and b"WRONGTYPE" in refused.response.body
    async with a.connect("/t") as peer:
        for wrong in ("", "1", "{}", "1 1 1 t 1", "x 1 1 t 1 y", "1 -1 1 t 1 y", "1 1 1 t 1"):
            world.redis.ask("PUBLISH", "pushloop:news:{t}", wrong)
        await world.publish(b, "/t", "ours")
        assert await heard(peer, 1) == ["ours"]
    assert await world.figure(a, "pushloop_broker_foreign_messages") == 7
    world.redis.ask("XADD", "pushloop:log:{odd}", "9-0", "r", "not ours")
    world.redis.ask("HSET", "pushloop:topic:{odd}", "epoch", "1", "offset", "9", "run", "x")
    # A life of another run of the broker.
    async with a.connect("/odd") as peer:
        await world.publish(b, "/odd", "x")
        assert await heard(peer, 1) == ["x"]
    world.redis.ask("CONFIG", "SET", "maxmemory", "1")
    status, text = await world.ask(a, "POST", "/t", "x")
    assert status == 503 and "OOM" in text, text
    world.redis.ask("CONFIG", "SET", "maxmemory", "0")
    world.redis.ask("SCRIPT", "FLUSH")
    await world.publish(a, "/t", "x")
    world.redis.ask("REPLICAOF", "127.0.0.1", str(free_port()))
    status, text = await world.ask(a, "POST", "/t", "x")
    # The one after the other: it is looked each second whether it is the master still.
    assert status == 503 and ("READONLY" in text or "cannot be reached" in text), text

    async def have_said():
        # The other one asks nothing of it, and looks.
        return "is a replica" in a.said() and "is a replica" in b.said()

    await world.until(have_said)
    world.redis.ask("REPLICAOF", "NO", "ONE")
    for node in (a, b):
        await world.ready(node)


async def what_is_missed_on_the_way_is_had_from_the_history(world):
    """A subscription that is dead and does not say so; and one whose connection is cut."""
    a, b = await world.begin()
    async with a.connect("/t") as peer:
        await world.publish(b, "/t", "0")
        assert await heard(peer, 1) == ["0"]
        # The number goes on and the history with it, and no news comes.
        publish = "redis.call('HINCRBY', KEYS[1], 'offset', 1) return redis.call('XADD', KEYS[2], ARGV[1]..'-0', 'r', ARGV[2])"
        keys = ("2", "pushloop:topic:{t}", "pushloop:log:{t}")
        world.redis.ask("EVAL", publish, *keys, "2", "1 t 1893456000000 lost")
        assert await heard(peer, 1) == ["lost"]
        world.redis.ask("EVAL", publish, *keys, "3", "1 t 1893456000000 lost too")
        await world.publish(b, "/t", "next")
        assert await heard(peer, 2) == ["lost too", "next"]
        assert await world.figure(a, "pushloop_broker_recovered") == 3
        world.redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
        world.redis.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for node in (a, b):
            await world.ready(node)
        for nth in range(50):
            await world.until(lambda nth=nth: published(world, b, "/t", f"{nth}"))
        assert await heard(peer, 50) == [f"{nth}" for nth in range(50)]
    # What is no longer kept cannot be had.
    async with a.connect("/t") as peer:
        world.redis.ask("HINCRBY", "pushloop:topic:{t}", "offset", "1")
        await world.publish(b, "/t", "behind a hole")
        await closes_at_once(peer, 1013)


async def a_node_that_is_cut_off_is_stale_and_then_exact(world):
    """Its packets to the broker and back are dropped, so that nothing ends: nobody is told of it."""
    world.redis = Redis("--bind", "127.0.0.1", "127.0.0.2")
    a = Node(world.server, world.redis)
    b = Node(world.server, world.redis, url=f"redis://127.0.0.2:{world.redis.port}")
    world.nodes += [a, b]
    for node in world.nodes:
        await world.ready(node)
    drops = "\n".join(f"ip {way} 127.0.0.2 drop" for way in ("saddr", "daddr"))
    cut = f"table ip cut {{\nchain input {{\ntype filter hook input priority 0;\n{drops}\n}}\n}}\n"
    async with b.connect("/t?envelope=json") as peer, b.connect("/$broker") as state:
        await heard(peer, 1)
        assert await heard(state, 1) == ['{"up":true}']
        await world.publish(a, "/t", "before")
        assert json.loads((await heard(peer, 1))[0])["data"] == "before"
        subprocess.run(["nft", "-f", "-"], input=cut, text=True, check=True, timeout=PATIENCE)
        for nth in range(100):
            await world.publish(a, "/t", f"{nth}")

        began = time.monotonic()
        assert await heard(state, 1) == ['{"up":false}']
        seconds = time.monotonic() - began
        assert (await world.ask(b, "GET", "/readyz"))[0] == 503
        assert (await world.ask(b, "POST", "/t", "x"))[0] in (503, 504)
        subprocess.run(["nft", "delete", "table", "ip", "cut"], check=True, timeout=PATIENCE)
        exact = [json.loads(text) for text in await heard(peer, 100)]
        assert [it["data"] for it in exact] == [f"{nth}" for nth in range(100)]
        assert await heard(state, 1) == ['{"up":true}']
        print(f"figure cut off: stale within {seconds:.1f} s, then 100 of 100 in order")


async def a_node_that_is_killed_while_it_publishes_leaves_no_hole(world):
    """What the broker has taken reaches the others, whether the publisher was answered or not."""
    nodes = await world.begin()
    for nth in range(20 if FULL else 5):
        victim, other = nodes
        async with other.connect("/t") as peer:
            waits = [asyncio.create_task(world.ask(victim, "POST", "/t", f"{nth}.{of}")) for of in range(50)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            victim.process.kill()
            answers = [status for status, _ in await asyncio.gather(*waits)]
            assert set(answers) <= {200, None}, answers
            await world.publish(other, "/t", "end")
            had = []
            while not had or had[-1] != "end":
                had += await heard(peer, 1)
        victim.end()
        kept = world.redis.ask("XRANGE", "pushloop:log:{t}", "-", "+").splitlines()
        kept = [line.split(" ")[-1] for line in kept if f" {nth}." in line]
        assert had[:-1] == kept and len(kept) >= answers.count(200), (had, kept, answers)
        nodes[0] = Node(world.server, world.redis)
        await world.ready(nodes[0])


async def published(world, node, path, body):
    return (await world.ask(node, "POST", path, body, Idempotency_Key=f"{path} {body}"))[0] == 200


async def topics_without_a_history_are_shared_too(world):
    a, b = await world.begin(options=("--anyone-may-publish",))
    async with a.connect("/t") as one, b.connect("/t") as two:
        for nth in range(100):
            await world.publish([a, b][nth % 2], "/t", f"{nth}")
        expected = [f"{nth}" for nth in range(100)]
        assert await heard(one, 100) == expected and await heard(two, 100) == expected
        world.redis.ask("HINCRBY", "pushloop:topic:{t}", "offset", "1")
        await world.publish(b, "/t", "behind a hole")
        for peer in (one, two):
            await closes_at_once(peer, 1013)


async def passwords_are_needed_and_kept(world):
    secret = Path(tempfile.mkdtemp(prefix="pushloop-")) / "secret"
    secret.write_text("s3cret\n")
    try:
        a, = await world.begin(1, ("--requirepass", "s3cret"), (*KEEPS, "--redis-password-file", str(secret)))
        assert (await world.publish(a, "/t", "x"))["id"].endswith("-1")
        other = Node(world.server, world.redis)
        world.nodes.append(other)

        async def has_said():
            return "NOAUTH" in other.said() or "Authentication" in other.said()

        await world.until(has_said)
        assert (await world.ask(other, "GET", "/readyz"))[0] == 503
        assert "s3cret" not in a.said() + other.said()
    finally:
        shutil.rmtree(secret.parent)


async def tls_goes_by_the_authority_that_is_named(world):
    folder = Path(tempfile.mkdtemp(prefix="pushloop-"))
    try:
        script = Path(__file__).parent.parent / "operations" / "certificates.sh"
        subprocess.run(["bash", script, folder], check=True, capture_output=True, timeout=PATIENCE)
        port = free_port()
        files = ("--tls-cert-file", str(folder / "chain.pem"), "--tls-key-file", str(folder / "key.pem"))
        world.redis = Redis("--tls-port", str(port), "--tls-auth-clients", "no", *files)
        options = (*KEEPS, "--redis-ca", str(folder / "authority.pem"))
        a = Node(world.server, world.redis, options, f"rediss://localhost:{port}")
        b = Node(world.server, world.redis, KEEPS, f"rediss://localhost:{port}")
        world.nodes += [a, b]
        await world.ready(a)
        async with a.connect("/t") as peer:
            await world.publish(a, "/t", "x")
            assert await heard(peer, 1) == ["x"]

        async def has_said():
            return "certificate" in b.said()

        # The system does not know this authority.
        await world.until(has_said)
        assert (await world.ask(b, "GET", "/readyz"))[0] == 503
    finally:
        shutil.rmtree(folder)


CHECKS = [
    nodes_share_topics,
    what_is_kept_outlives_nodes,
    no_more_is_read_of_a_history_than_is_kept,
    a_key_publishes_once_at_any_node,
    what_is_published_once_a_subscriber_is_open_reaches_it,
    a_broker_that_is_killed_loses_nothing_that_it_acknowledged,
    a_broker_that_forgets_is_noticed,
    a_broker_that_starts_again_without_its_data_is_noticed,
    a_broker_that_stands_still_runs_nothing_late,
    foreign_data_full_and_read_only_brokers_are_told_of,
    what_is_missed_on_the_way_is_had_from_the_history,
    a_node_that_is_cut_off_is_stale_and_then_exact,
    a_node_that_is_killed_while_it_publishes_leaves_no_hole,
    topics_without_a_history_are_shared_too,
    passwords_are_needed_and_kept,
    tls_goes_by_the_authority_that_is_named,
    *doors.CHECKS,
    *loops.CHECKS,
    *members.CHECKS,
    *lists.CHECKS,
    *channels.CHECKS,
    *webhooks.CHECKS,
    *orders.CHECKS,
    storm.a_thousand_topics_lose_nothing_that_was_acknowledged,
    *failover.CHECKS,
    *clusters.CHECKS,
]


async def run(server, check):
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        world = World(server, http)
        try:
            await asyncio.wait_for(check(world), 600 if FULL else 120)
            print(f"ok {check.__name__}", flush=True)
            return True
        except (AssertionError, LookupError, OSError, asyncio.TimeoutError, subprocess.SubprocessError, ConnectionClosed, InvalidStatus) as error:
            print(f"FAIL {check.__name__}: {why(error)}", flush=True)
            for node in world.nodes:
                if not node.log.closed:
                    print(node.said())
            return False
        finally:
            world.end()


def main():
    server, *names = sys.argv[1:]
    checks = [check.__name__ for check in CHECKS if not names or check.__name__ in names]
    if not checks:
        sys.exit("no check has such a name")
    inside = "ip link set lo up && exec \"$@\" inside"
    apart = ["unshare", "--net", "sh", "-ec", inside, "sh", sys.executable, __file__, server]
    parts = [part for nth in range(AT_ONCE) if (part := checks[nth::AT_ONCE])]
    sys.exit(any([process.wait() for process in [subprocess.Popen([*apart, *part]) for part in parts]]))


def main_inside():
    server, *names = sys.argv[1:-1]
    results = [asyncio.run(run(server, check)) for check in CHECKS if check.__name__ in names]
    sys.exit(not all(results))


if __name__ == "__main__":
    main_inside() if sys.argv[-1] == "inside" else main()
