"""Servers at a cluster: three masters, slots that move, and a master that is lost."""

import asyncio
import binascii
import json
import subprocess
import time
from pathlib import Path

from channels import CHANNEL, GRANTS, both
from failover import BACK_WITHIN, both_publish, ends, is_told, says
from members import enter, listed
from orders import a_user_is_closed
from protocols import api, centrifuge, pusher
from webhooks import Backend, hears
from world import KEEPS, PATIENCE, Node, Redis, closes, crowd, free_port

TOPICS = 20
SOURCE = "127.0.0.9"
OPTIONS = (*KEEPS, "--presence", "--presence-delay", "1")


def slot_of(tag):
    return binascii.crc_hqx(tag.encode(), 0) % 16384


class Cluster:
    """Three masters, and a replica of one of them."""

    def __init__(self):
        self.nodes = []
        for nth in range(4):
            # Its own bus has another port, which is a free one as well.
            own = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", str(free_port()))
            # What the second one tells the others can be told apart.
            source = ("--bind-source-addr", SOURCE, "--cluster-announce-ip", "127.0.0.1") if nth == 1 else ()
            self.nodes.append(Redis(*source, *own))
        self.ids = []

    def cli(self, *words):
        run = ["redis-cli", "--cluster", *words, "--cluster-yes"]
        done = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def place(self, nth):
        return f"127.0.0.1:{self.nodes[nth].port}"

    def bus(self, nth):
        return self.nodes[nth].options[-1]

    @property
    def url(self):
        return f"redis+cluster://{self.place(0)},{self.place(1)}"

    async def begin(self, world):
        for node in self.nodes:
            async def answers(node=node):
                return subprocess.run(["redis-cli", "-p", str(node.port), "PING"], capture_output=True).stdout == b"PONG\n"

            await world.until(answers)
        await asyncio.to_thread(self.cli, "create", *(f"{self.place(nth)}@{self.bus(nth)}" for nth in range(3)))
        self.ids = [node.ask("CLUSTER", "MYID") for node in self.nodes]
        replica, first = self.nodes[3], self.nodes[0]
        replica.ask("CLUSTER", "MEET", "127.0.0.1", str(first.port), self.bus(0))

        async def replicates():
            return replica.ask("CLUSTER", "REPLICATE", self.ids[2]) == "OK"

        await world.until(replicates)

        async def is_whole():
            for node in self.nodes:
                told = node.ask("CLUSTER", "INFO")
                if "cluster_state:ok" not in told or "cluster_known_nodes:4" not in told:
                    return False
            return "master_link_status:up" in replica.ask("INFO", "replication")

        await world.until(is_whole)

    def ranges(self):
        """The first and last slots of the masters, by their places here."""
        slots = {}
        for line in self.nodes[0].ask("CLUSTER", "NODES").splitlines():
            words = line.split()
            if len(words) > 8 and words[0] in self.ids:
                slots[self.ids.index(words[0])] = [tuple(map(int, it.split("-"))) for it in words[8:] if "-" in it]
        return slots

    def end(self):
        for node in self.nodes:
            node.end()


async def begin(world, options=OPTIONS):
    it = world.redis = Cluster()
    await it.begin(world)
    world.nodes = [Node(world.server, None, options, it.url) for _ in range(2)]
    for node in world.nodes:
        await world.ready(node)
    return it


async def topics_of_all_masters_are_shared(world):
    it = await begin(world)
    a, b = world.nodes
    owners = set()
    for nth in range(12):
        path = f"/many/{nth}"
        owners |= {at for at, all_ in it.ranges().items() for first, last in all_ if first <= slot_of(path[1:]) <= last}
        async with a.connect(path) as one, b.connect(path) as two:
            ids = [(await world.publish([a, b][of % 2], path, f"{of}", Idempotency_Key=f"{of}"))["id"] for of in range(4)]
            again = await world.publish(b, path, "0", Idempotency_Key="0")
            assert again["id"] == ids[0], (again, ids)
            for peer in (one, two):
                had = [await asyncio.wait_for(peer.recv(), PATIENCE) for _ in range(4)]
                assert had == ["0", "1", "2", "3"], had
        async with b.connect(f"{path}?after={ids[1]}") as peer:
            assert [await asyncio.wait_for(peer.recv(), PATIENCE) for _ in range(2)] == ["2", "3"]
    assert owners == {0, 1, 2}, owners
    # Several topics of several masters in one request, and in one connection.
    async with a.connect("/many/0,many/1,many/2?envelope=json") as peer:
        batch = "".join(json.dumps({"topic": f"many/{nth}", "data": f"batch {nth}"}) + "\n" for nth in range(3))
        status, text = await world.ask(b, "POST", "/", batch, Content_Type="application/x-ndjson")
        assert status == 200, text
        had = set()
        while len(had) < 3:
            had |= {it["data"] for it in [json.loads(await asyncio.wait_for(peer.recv(), PATIENCE))] if "data" in it}
    # Who subscribes.
    async with enter(a, "ada"), enter(b, "ben"):
        for node in (a, b):
            async def has_both(node=node):
                found = await listed(world, node, "room")
                return found and {it["id"] for it in found["members"]} == {"ada", "ben"}

            await world.until(has_both)
    async def is_empty():
        found = await listed(world, a, "room")
        return found is not None and not found["members"]

    await world.until(is_empty)
    # A script that is forgotten is had anew by each.
    for node in it.nodes[:3]:
        node.ask("SCRIPT", "FLUSH")
    for nth in range(12):
        await world.publish(a, f"/many/{nth}", "again")
    # A node that is no master is enough to find the others, and to hear them.
    c = Node(world.server, None, OPTIONS, f"redis+cluster://{it.place(3)}")
    world.nodes.append(c)
    await world.ready(c)
    async with c.connect("/many/0") as peer:
        for nth in range(12):
            await world.publish(c, f"/many/{nth}", "c")
        assert await asyncio.wait_for(peer.recv(), PATIENCE) == "c"
    # What is wrong is said.
    await says(world, f"redis://{it.place(0)}", f"is a node of a cluster: write redis+cluster://{it.place(0)}")
    other = Redis()
    try:
        place = f"127.0.0.1:{other.port}"
        await says(world, f"redis+cluster://{place}", f"is a node of no cluster: write redis://{place}")
    finally:
        other.end()
    await ends(world, f"{it.url}/1", "a cluster has one database")
    await ends(world, it.url, "a replica that becomes the master may lack", ("--redis-durable",))
    await ends(world, it.url, "braces say which slot", ("--redis-prefix", "a{b"))


async def a_slot_that_moves_is_followed_at_each_step(world):
    it = await begin(world)
    a, b = world.nodes
    topic = "moving"
    slot = slot_of(topic)
    of = next(at for at, all_ in it.ranges().items() for first, last in all_ if first <= slot <= last)
    to = (of + 1) % 3
    epochs = []

    async def publish(node, **headers):
        status, text = await world.ask(node, "POST", f"/{topic}", "x", **headers)
        if status == 200:
            epochs.append(json.loads(text)["id"].split("-")[0])
        return status, text

    assert (await publish(a))[0] == 200 and (await publish(b))[0] == 200
    it.nodes[to].ask("CLUSTER", "SETSLOT", str(slot), "IMPORTING", it.ids[of])
    it.nodes[of].ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", it.ids[to])
    # What is there still is used there; a key that is new would be neither here nor there.
    assert (await publish(a))[0] == 200 and len(set(epochs)) == 1, epochs
    status, text = await publish(b, Idempotency_Key="k")
    assert status == 503 and "TRYAGAIN" in text, (status, text)
    keys = [f"pushloop:{kind}:{{{topic}}}" for kind in ("topic", "log")]
    told = it.nodes[of].ask("MIGRATE", "127.0.0.1", str(it.nodes[to].port), "", "0", "5000", "KEYS", *keys)
    assert told == "OK", told
    # Both have not asked since where the slot is.
    for node in (a, b):
        assert (await publish(node))[0] == 200
    assert len(set(epochs)) == 2 and epochs[-2] == epochs[-1], epochs
    assert [it.nodes[at].ask("CLUSTER", "COUNTKEYSINSLOT", str(slot)) for at in (of, to)] == ["0", "2"]
    it.nodes[to].ask("SCRIPT", "FLUSH")
    assert (await publish(b))[0] == 200
    status, text = await publish(b, Idempotency_Key="k")
    assert status == 503 and "TRYAGAIN" in text, (status, text)
    for at in (to, of, 3 - to - of):
        it.nodes[at].ask("CLUSTER", "SETSLOT", str(slot), "NODE", it.ids[to])
    for node in (a, b):
        assert (await publish(node, Idempotency_Key="k"))[0] == 200
        async with node.connect(f"/{topic}?last=9") as peer:
            for _ in range(4):
                await asyncio.wait_for(peer.recv(), PATIENCE)
    assert len(set(epochs)) == 2, epochs
    for node in (a, b):
        assert await world.figure(node, "pushloop_broker_connections_lost") == 0, node.said()


async def a_slot_that_moves_to_a_node_that_is_away_is_refused_alone(world):
    it = await begin(world)
    a = world.nodes[0]
    fifth = Redis("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", str(free_port()))
    it.nodes.append(fifth)
    await world.until(fifth.answers)
    fifth.ask("CLUSTER", "MEET", "127.0.0.1", str(it.nodes[0].port), it.bus(0))
    topic = "moving"
    slot = slot_of(topic)
    of = next(at for at, all_ in it.ranges().items() for first, last in all_ if first <= slot <= last)
    other = next(f"o{nth}" for nth in range(100) if not any(first <= slot_of(f"o{nth}") <= last for first, last in it.ranges()[of]))

    async def is_met():
        id_ = fifth.ask("CLUSTER", "MYID")
        return all(id_ in node.ask("CLUSTER", "NODES") for node in it.nodes)

    await world.until(is_met)
    fifth.ask("CLUSTER", "SETSLOT", str(slot), "IMPORTING", it.ids[of])
    it.nodes[of].ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", fifth.ask("CLUSTER", "MYID"))
    batch = "".join(json.dumps({"topic": topic, "data": f"{nth}"}) + "\n" for nth in range(20))
    await world.publish(a, f"/{other}", "before")
    for away in (fifth.pause, fifth.kill):
        away()
        began = time.monotonic()
        status, text = await world.ask(a, "POST", "/", batch, Content_Type="application/x-ndjson")
        # It is waited for once, and then left alone for some seconds.
        assert status == 503 and "not published it: ASK" in text and time.monotonic() - began < 4, (status, text)
        for nth in range(10):
            status, text = await world.ask(a, "POST", f"/{topic}", "x")
            assert status == 503 and "not published it: ASK" in text, (status, text)
            await world.publish(a, f"/{other}", f"{nth}")
        assert time.monotonic() - began < 6, time.monotonic() - began
        assert await world.figure(a, "pushloop_broker_connections_lost") == 0, a.said()
    assert f"a slot moves to where nobody answers: 127.0.0.1:{fifth.port}: no answer in time" in a.said(), a.said()
    # One that is there again is used soon.
    fifth.start()

    async def is_followed():
        status, text = await world.ask(a, "POST", f"/{topic}", "x")
        return status == 200 or "TRYAGAIN" in text

    await world.until(is_followed)


async def a_node_that_does_not_pass_on_what_one_master_publishes_is_left(world):
    it = world.redis = Cluster()
    await it.begin(world)
    node = Node(world.server, None, OPTIONS, f"redis+cluster://{it.place(0)}")
    world.nodes = [node]
    await world.ready(node)
    topic = next(f"o{nth}" for nth in range(100) if any(first <= slot_of(f"o{nth}") <= last for first, last in it.ranges()[1]))
    drop = f"ip saddr {SOURCE} tcp dport {it.bus(0)} drop"
    rules = f"table ip cut {{\nchain input {{\ntype filter hook input priority 0;\n{drop}\n}}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, timeout=PATIENCE)
    async with node.connect(f"/{topic}") as peer:
        await world.publish(node, f"/{topic}", "x")
        assert await asyncio.wait_for(peer.recv(), PATIENCE) == "x"

    async def is_left():
        return "one of the masters is not heard there" in node.said()

    await world.until(is_left)
    subprocess.run(["nft", "delete", "table", "ip", "cut"], check=True, timeout=PATIENCE)
    lost = await world.figure(node, "pushloop_broker_connections_lost")
    await world.ready(node)
    async with node.connect(f"/{topic}") as peer:
        began = time.monotonic()
        while time.monotonic() < began + 10:
            await world.publish(node, f"/{topic}", "y")
            assert await asyncio.wait_for(peer.recv(), PATIENCE) == "y"
    assert await world.figure(node, "pushloop_broker_connections_lost") <= lost + 1, node.said()


async def slots_move_and_a_master_is_lost(world):
    it = await begin(world)
    async with crowd(world, TOPICS, 100) as many:
        async def has_many(least=300):
            return sum(map(len, many.acknowledged.values())) > least

        began = time.monotonic()
        await world.until(has_many)
        rate = 300 / (time.monotonic() - began)
        # The slots until that of the first topic, of a master that lives on.
        slots = sorted(slot_of(f"c/{topic}") for topic in range(TOPICS))
        ranges = it.ranges()
        gap, source = min((slot - ranges[at][0][0], at) for at in (0, 1) for slot in slots if slot >= ranges[at][0][0])
        moved = [topic for topic in range(TOPICS) if 0 <= slot_of(f"c/{topic}") - ranges[source][0][0] <= gap]
        ends_ = ("--cluster-from", it.ids[source], "--cluster-to", it.ids[1 - source], "--cluster-slots", str(gap + 1))
        began = time.monotonic()
        await asyncio.to_thread(it.cli, "reshard", it.place(0), *ends_)
        took = time.monotonic() - began
        assert it.nodes[1 - source].ask("EXISTS", f"pushloop:topic:{{c/{moved[0]}}}") == "1"
        here = {topic: len(many.acknowledged[topic]) for topic in moved}

        async def go_on():
            return all(len(many.acknowledged[topic]) > count for topic, count in here.items())

        await world.until(go_on)
        places = {topic: many.acknowledged[topic][-1][0] for topic in range(TOPICS)}
        it.nodes[2].kill()
        began = time.monotonic()
        lost = [topic for topic in range(TOPICS) if ranges[2][0][0] <= slot_of(f"c/{topic}") <= ranges[2][0][1]]
        await both_publish(world, f"/c/{lost[0]}")
        back = time.monotonic() - began
        least = sum(map(len, many.acknowledged.values()))
        await world.until(lambda: has_many(least + 100))
    many.judge()
    acknowledged = sum(map(len, many.acknowledged.values()))
    for topic in lost:
        assert await is_told(world, world.nodes[topic % 2], f"/c/{topic}", places[topic]), f"a place of {topic} recovers"
    print(f"figure cluster: {acknowledged} acknowledged, {rate:.0f} a second at first, {many.told} told; {gap + 1} slots moved in {took:.1f} s; "
          f"publishing again {back:.1f} s after a master was lost")
    assert back < BACK_WITHIN, f"{back} s"


async def a_cluster_has_passwords_and_tls(world):
    """Of one node, which has met no other and so does not know its own address."""
    folder, port = world.folder(), free_port()
    script = Path(__file__).parent.parent / "operations" / "certificates.sh"
    subprocess.run(["bash", script, folder], check=True, capture_output=True, timeout=PATIENCE)
    (folder / "secret").write_text("s3cret\n")
    files = ("--tls-cert-file", f"{folder}/chain.pem", "--tls-key-file", f"{folder}/key.pem")
    tls = ("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", f"{folder}/authority.pem", *files)
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--tls-cluster", "yes")
    it = world.redis = Redis("--requirepass", "s3cret", *tls, *cluster)
    options = (*KEEPS, "--redis-ca", f"{folder}/authority.pem", "--redis-password-file", f"{folder}/secret")
    url = f"rediss+cluster://localhost:{port}"
    node = Node(world.server, None, options, url)
    world.nodes.append(node)

    async def has_said():
        return "16384 of the cluster's 16384 slots have no master" in node.said() or "is down" in node.said()

    await world.until(has_said)
    run = ["redis-cli", "-p", str(it.port), "-a", "s3cret", "CLUSTER", "ADDSLOTSRANGE", "0", "16383"]
    subprocess.run(run, check=True, capture_output=True, timeout=PATIENCE)
    await world.ready(node)
    async with node.connect("/t") as peer:
        await world.publish(node, "/t", "x")
        assert await asyncio.wait_for(peer.recv(), PATIENCE) == "x"
    assert "s3cret" not in node.said()


async def channels_with_members_and_orders_are_those_of_all_nodes(world):
    backend = Backend(free_port())
    webhook = ("--pusher-webhook", f"1:http://127.0.0.1:{backend.port}/")
    async with backend.serves():
        await begin(world, (*both(world), *webhook))
        a, b = world.nodes
        async with pusher(a) as one, pusher(b) as two, pusher(b) as other:
            await one.enters(CHANNEL, "ada")
            assert await two.enters(CHANNEL, "ben") == {"ada": None, "ben": None}
            await one.hears("added", "ben")
            await a_user_is_closed(world, a, (one, two), other)
            # Both were members: no list is left.
            await hears(world, backend, ["channel_occupied", *2 * ["member_added", "member_removed"], "channel_vacated"])
        async with centrifuge(a, "eve", **GRANTS) as three, centrifuge(b, "fay", **GRANTS) as four:
            for it in (three, four):
                await it.subscribes("x")
            for node in (a, b):
                async def knows_both(node=node):
                    return (await api(world, node, "presence_stats", channel="x"))["result"]["num_clients"] == 2

                await world.until(knows_both)
            assert await api(world, b, "disconnect", user="eve") == {"result": {}}
            await closes(three.peer, 3503)
            assert (await four.asks(ping={}))["id"]


CHECKS = [channels_with_members_and_orders_are_those_of_all_nodes, a_cluster_has_passwords_and_tls, topics_of_all_masters_are_shared, a_slot_that_moves_is_followed_at_each_step,
    a_slot_that_moves_to_a_node_that_is_away_is_refused_alone,
    a_node_that_does_not_pass_on_what_one_master_publishes_is_left, slots_move_and_a_master_is_lost]
