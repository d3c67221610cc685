"""Servers at the master that sentinels know, and what becomes of them when it is another one."""

import asyncio
import json
import signal
import subprocess
import time
from pathlib import Path

from members import Crowd as Members
from members import are_there
from websockets.exceptions import ConnectionClosed, InvalidStatus
from world import KEEPS, PATIENCE, Node, Redis, closes, crowd, free_port

OPTIONS = (*KEEPS, "--presence", "--presence-delay", "1")
# Seconds from the end of a master until both servers publish again.
BACK_WITHIN = 20


class Sentinels:
    """A master `m`, a replica of it and three sentinels, which need a second to see that it is away."""

    def __init__(self, password=None, certificates=None):
        auth = ("--requirepass", password, "--masterauth", password) if password else ()
        tls = {
            "tls-auth-clients": "no", "tls-replication": "yes", "tls-ca-cert-file": f"{certificates}/authority.pem",
            "tls-cert-file": f"{certificates}/chain.pem", "tls-key-file": f"{certificates}/key.pem",
        } if certificates else {}
        options = [*auth, *(word for name, value in tls.items() for word in (f"--{name}", value))]
        self.scheme, kind, port = "redis", "port", None
        if certificates:
            self.scheme, kind, port = "rediss", "tls-port", free_port()
            options += ["--tls-port", str(port)]
        self.master = Redis(*options)
        self.port = port or self.master.port
        if certificates:
            options[-1] = str(free_port())
        self.replica = Redis("--replicaof", f"127.0.0.1 {self.port}", *options)
        secret = f"sentinel auth-pass m {password}\nrequirepass of-sentinels\n" if password else ""
        secret += "port 0\n" * bool(certificates) + "".join(f"{name} {value}\n" for name, value in tls.items())
        self.processes, self.ports = [], [free_port() for _ in range(3)]
        for port in self.ports:
            folder = self.master.folder / f"sentinel-{port}"
            folder.mkdir()
            (folder / "conf").write_text(
                f"{kind} {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor m 127.0.0.1 {self.port} 2\n"
                f"sentinel down-after-milliseconds m 1000\nsentinel failover-timeout m 4000\n{secret}"
            )
            run = ["redis-sentinel", folder / "conf"]
            self.processes.append(subprocess.Popen(run, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))

    @property
    def url(self):
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"{self.scheme}+sentinel://{hosts}/m"

    def ask(self, nth, *words, password=None):
        auth = ("-a", password, "--no-auth-warning") if password else ()
        run = ["redis-cli", "-p", str(self.ports[nth]), *auth, *words]
        return subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE).stdout.strip()

    async def know_each_other(self, password=None):
        """All have heard of the replica and of the other sentinels."""
        for nth in range(3):
            told = self.ask(nth, "SENTINEL", "MASTER", "m", password=password).splitlines()
            said = dict(zip(told[::2], told[1::2]))
            if (said.get("num-slaves"), said.get("num-other-sentinels")) != ("1", "2"):
                return False
        return True

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait(PATIENCE)
        self.replica.end()
        self.master.end()


async def begin(world):
    """Two servers at a master with a replica that has all."""
    it = world.redis = Sentinels()

    async def is_synchronous():
        # It may not have begun to listen.
        told = subprocess.run(["redis-cli", "-p", str(it.master.port), "INFO"], capture_output=True, text=True)
        return "state=online" in told.stdout

    await world.until(is_synchronous)
    await world.until(it.know_each_other)
    world.nodes = [Node(world.server, None, OPTIONS, it.url) for _ in range(2)]
    for node in world.nodes:
        await world.ready(node)
    return it


class Cut:
    """What the master tells its replica is dropped on the way, and neither hears of that."""

    def __init__(self, it):
        told = it.master.ask("INFO", "replication")
        clients = it.master.ask("CLIENT", "LIST", "TYPE", "replica")
        port = clients.split(" addr=")[1].split(" ")[0].rsplit(":", 1)[1]
        assert "state=online" in told, told
        drops = "\n".join(f"tcp {way} {port} drop" for way in ("sport", "dport"))
        self.run(f"table ip cut {{\nchain input {{\ntype filter hook input priority 0;\n{drops}\n}}\n}}\n")

    def run(self, rules):
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, timeout=PATIENCE)

    def end(self):
        self.run("delete table ip cut\n")


async def is_told(world, node, path, place):
    """Whether somebody that comes back to this place is told that something is lost."""

    async def verdict():
        try:
            async with node.connect(f"{path}?after={place}&envelope=json") as peer:
                told = json.loads(await asyncio.wait_for(peer.recv(), PATIENCE))
                return {"recovered": told["recovered"]}
        except (InvalidStatus, ConnectionClosed):
            # What it hears is not from the master yet.
            return None

    return (await world.until(verdict))[0]["recovered"] is False


async def both_publish(world, path="/again"):
    """Waits until both servers do, and hear what is published."""
    for node in world.nodes:
        async def publishes(node=node):
            return (await world.ask(node, "POST", path, "x"))[0] == 200

        await world.until(publishes)
        await world.ready(node)


async def a_master_that_is_killed_is_replaced_and_what_it_alone_had_is_told(world):
    it = await begin(world)
    stale = []

    async def watch():
        """What a subscriber is told of the broker."""
        async with world.nodes[0].connect("/$broker") as peer:
            while True:
                stale.append(json.loads(await peer.recv())["up"])

    watching = asyncio.create_task(watch())
    members = Members()
    members.come(world.nodes[0], "ada")
    members.come(world.nodes[1], "cy")
    async with crowd(world, 10, 100) as many:
        async def has_many():
            return sum(map(len, many.acknowledged.values())) > 300

        began = time.monotonic()
        await world.until(has_many)
        rate = 300 / (time.monotonic() - began)
        async def has_cy():
            return it.replica.ask("HEXISTS", "pushloop:members:{$presence}/room", '"cy"') == "1"

        await world.until(has_cy)
        cut = Cut(it)
        await members.go("cy")
        members.come(world.nodes[1], "ben")
        await are_there(world, ["ada", "ben"])
        before = {topic: len(all_) for topic, all_ in many.acknowledged.items()}

        async def has_more():
            return sum(map(len, many.acknowledged.values())) > sum(before.values()) + 50

        await world.until(has_more)
        old = json.loads((await world.ask(world.nodes[0], "POST", "/alone", "only there"))[1])["id"]
        lost = [(topic, place) for topic, all_ in many.acknowledged.items() for place, _ in all_[before[topic]:]]
        it.master.kill()
        began = time.monotonic()
        await both_publish(world)
        back = time.monotonic() - began
        # The replica had cy, who has left, and not ben.
        await are_there(world, ["ada", "ben"])
        cut.end()
    watching.cancel()
    for member in members.members():
        await members.go(member)
    many.judge()
    acknowledged = sum(map(len, many.acknowledged.values()))
    assert many.told, "nobody was told"
    for nth, (topic, place) in enumerate(lost):
        assert await is_told(world, world.nodes[nth % 2], f"/c/{topic}", place), f"{place} of {topic} is lost, and recovers"
    assert await is_told(world, world.nodes[1], "/alone", old)
    assert False in stale and stale[-1], stale
    print(f"figure failover: {acknowledged} acknowledged, {rate:.0f} a second at first, {len(lost)} by the lost master alone, {many.told} told; "
          f"publishing again after {back:.1f} s")
    assert back < BACK_WITHIN, f"{back} s"


async def a_master_that_was_one_before_begins_anew(world):
    """It had more, forgot it as a replica, and is the same process: its positions of before are of no use."""
    it = await begin(world)
    a, b = world.nodes
    places = [(await world.publish(a, "/t", f"{nth}"))["id"] for nth in range(5)]

    async def has_all():
        return it.replica.ask("HGET", "pushloop:topic:{t}", "offset") == "5"

    await world.until(has_all)
    cut = Cut(it)
    places += [(await world.publish(b, "/t", f"{nth}"))["id"] for nth in range(5, 8)]
    it.master.pause()
    await both_publish(world)
    cut.end()
    it.master.go_on()
    # As the sentinels would some seconds later.
    it.master.ask("REPLICAOF", "127.0.0.1", str(it.replica.port))

    async def is_a_replica():
        told = it.master.ask("INFO", "replication")
        return "role:slave" in told and "master_link_status:up" in told

    await world.until(is_a_replica)
    assert it.master.ask("HGET", "pushloop:topic:{t}", "offset") == "5"

    async def is_promoted():
        # It is no good replica until the sentinels have seen so.
        it.ask(0, "SENTINEL", "FAILOVER", "m")
        return "role:master" in it.master.ask("INFO", "replication")

    await world.until(is_promoted)
    # The other one is a master as well until it is told: what it is asked then is lost.
    it.replica.ask("REPLICAOF", "127.0.0.1", str(it.master.port))
    for node in world.nodes:
        async def is_there(node=node):
            words = ("HGET", "pushloop:topic:{again}", "offset")
            before = it.master.ask(*words)
            status, _ = await world.ask(node, "POST", "/again", "x")
            return status == 200 and it.master.ask(*words) != before

        await world.until(is_there)
    for node in world.nodes:
        await world.ready(node)
        assert await is_told(world, node, "/t", places[-1]), "a place that is lost recovers"
        assert await is_told(world, node, "/t", places[3]), "a place of another time recovers"
    new = [(await world.publish(node, "/t", "new"))["id"] for node in (a, b, a, b)]
    assert len({place.split("-")[0] for place in [places[0], *new]}) == 2, (places, new)


async def a_master_that_is_not_told_that_it_is_none_is_left(world):
    """It answers, and goes on as a master: servers that hear of the sentinels know better."""
    it = await begin(world)
    old, new = it.master, it.replica
    # It cannot be made a replica, as one cannot that the sentinels do not reach.
    old.ask("ACL", "SETUSER", "default", "-replicaof", "-slaveof")
    async with world.nodes[0].connect("/t") as peer:
        await world.publish(world.nodes[0], "/t", "before")
        assert await asyncio.wait_for(peer.recv(), PATIENCE) == "before"

        async def is_promoted():
            it.ask(0, "SENTINEL", "FAILOVER", "m")
            return "role:master" in new.ask("INFO", "replication")

        await world.until(is_promoted)
        assert "role:master" in old.ask("INFO", "replication")
        c = Node(world.server, None, OPTIONS, it.url)
        world.nodes.append(c)
        await world.ready(c)
        for nth, node in enumerate(world.nodes):
            async def is_there(node=node, path=f"/there/{nth}"):
                status, _ = await world.ask(node, "POST", path, "x")
                return status == 200 and new.ask("EXISTS", f"pushloop:topic:{{{path[1:]}}}") == "1"

            _, after = await world.until(is_there, 10)
            await world.ready(node)
        await closes(peer, 1013)
    assert "role:master" in old.ask("INFO", "replication")


async def passwords_of_a_master_and_of_sentinels_are_different_and_both_speak_tls(world):
    folder = world.folder()
    script = Path(__file__).parent.parent / "operations" / "certificates.sh"
    subprocess.run(["bash", script, folder], check=True, capture_output=True, timeout=PATIENCE)
    it = world.redis = Sentinels(password="s3cret", certificates=folder)
    (folder / "redis").write_text("s3cret\n")
    (folder / "sentinels").write_text("of-sentinels\n")
    options = (*KEEPS, "--redis-ca", str(folder / "authority.pem"), "--redis-password-file", str(folder / "redis"))
    both = (*options, "--redis-sentinel-password-file", str(folder / "sentinels"))
    world.nodes = [Node(world.server, None, both, it.url), Node(world.server, None, options, it.url)]
    await world.ready(world.nodes[0])
    await world.publish(world.nodes[0], "/t", "x")

    async def has_said():
        return "NOAUTH" in world.nodes[1].said() or "Authentication" in world.nodes[1].said()

    await world.until(has_said)
    assert "s3cret" not in world.nodes[0].said() + world.nodes[1].said()


async def says(world, url, expected, options=KEEPS):
    """A server at this URL says so, and is not ready."""
    node = Node(world.server, None, options, url)
    world.nodes.append(node)

    async def has_said():
        return expected in node.said()

    try:
        await world.until(has_said)
    except AssertionError as late:
        raise AssertionError(f"{url}: {expected!r} is not in {node.said()!r}") from late
    assert (await world.ask(node, "GET", "/readyz"))[0] != 200, url


async def ends(world, url, expected, options=()):
    """A server does not start with this URL, and says why."""
    run = [world.server, "--listen", "127.0.0.1:0", "--redis", url, *options]
    done = await asyncio.to_thread(subprocess.run, run, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0 and expected in done.stderr, (url, done.stderr)


class Pretender:
    """What speaks as a Redis does: each command is answered with what `tells` makes of its words."""

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self.server.close()

    async def answer(self, reader, writer):
        while line := (await reader.readline()).strip():
            words = []
            for _ in range(int(line[1:])):
                await reader.readline()
                words.append((await reader.readline()).strip().upper())
            writer.write(self.tells(words))
        writer.close()


class Liar(Pretender):
    """A sentinel that says something else, as one does that has not heard of the latest failover."""

    def __init__(self, port, epoch):
        self.said = {"name": "m", "ip": "127.0.0.1", "port": str(port), "config-epoch": str(epoch)}

    def tells(self, words):
        if words[0] != b"SENTINEL":
            return b"+OK\r\n"
        is_place = words[1] == b"GET-MASTER-ADDR-BY-NAME"
        told = [self.said["ip"], self.said["port"]] if is_place else [it for pair in self.said.items() for it in pair]
        return f"*{len(told)}\r\n".encode() + b"".join(f"${len(it)}\r\n{it}\r\n".encode() for it in told)


async def what_is_wrong_with_sentinels_is_said(world):
    it = world.redis = Sentinels()
    host = f"127.0.0.1:{it.ports[0]}"
    for url in (f"redis+sentinel://{host}", f"redis+sentinel://{host}/"):
        await ends(world, url, "the master's name is missing: redis+sentinel://HOST:PORT,HOST:PORT/MASTER")
    await ends(world, it.url, "a replica that becomes the master may lack", ("--redis-durable",))
    secret = ("--redis-sentinel-password-file", "/dev/null")
    await ends(world, f"redis://{host}", "it is about sentinels: of --redis redis+sentinel://HOST:PORT/MASTER", secret)
    await says(world, f"redis+sentinel://{host}/other", "no sentinel knows the master other")
    plain = f"redis+sentinel://127.0.0.1:{it.master.port}/m"
    await says(world, plain, "it is no sentinel: for one Redis, write redis://HOST:PORT")
    await says(world, f"redis://{host}", f"{host} is a sentinel: write redis+sentinel://{host}/MASTER")
    replica = f"redis://127.0.0.1:{it.replica.port}"
    await says(world, replica, "is a replica: it takes no publications")
    # One that knows an older failover is outvoted, whatever its place; one that knows a later one is gone by.
    async with Liar(it.replica.port, -1 % 2**64) as later, Liar(it.replica.port, 0) as older:
        await says(world, f"redis+sentinel://{host},127.0.0.1:{later}/m", "which is the latest")
        told = f"redis+sentinel://127.0.0.1:{older},{host},127.0.0.1:{it.ports[1]}/m"
        node = Node(world.server, None, KEEPS, told)
        world.nodes.append(node)
        await world.ready(node)
        # One that answers nothing is waited for half a second.
        it.processes[2].send_signal(signal.SIGSTOP)
        silent = Node(world.server, None, KEEPS, f"redis+sentinel://127.0.0.1:{it.ports[2]},{host}/m")
        world.nodes.append(silent)
        await world.ready(silent, 10)
        assert f"sentinels disagree on m: 2 of 3 say 127.0.0.1:{it.master.port}" in node.said(), node.said()


async def a_redis_that_stands_still_fills_no_log(world):
    node, *_ = await world.begin(1)
    world.redis.pause()

    async def has_tried():
        return await world.figure(node, "pushloop_broker_connections_lost") >= 6

    await world.until(has_tried)
    for what in ("cannot ask: no answer in time", "cannot listen: no answer in time"):
        assert node.said().count(what) == 1, node.said()
    world.redis.go_on()
    assert await world.ready(node) < 5


class Mad(Pretender):
    """A Redis with a clock that is at the end of all time."""

    def tells(self, words):
        texts = {b"SERVER": b"run_id:a\r\n", b"REPLICATION": b"role:master\r\nmaster_replid:b\r\n"}
        if words[0] == b"TIME":
            return b"*2\r\n$19\r\n9223372036854775807\r\n$1\r\n0\r\n"
        if words[0] == b"INFO":
            return b"$%d\r\n%s\r\n" % (len(texts[words[1]]), texts[words[1]])
        return b"-ERR mad\r\n"


async def a_clock_that_is_mad_ends_no_thread(world):
    async with Mad() as port:
        await says(world, f"redis://127.0.0.1:{port}", "cannot ask: ")
        assert "panicked" not in world.nodes[0].said(), world.nodes[0].said()
        assert "mad" in world.nodes[0].said(), world.nodes[0].said()
    world.redis = None


CHECKS = [
    a_redis_that_stands_still_fills_no_log,
    a_clock_that_is_mad_ends_no_thread,
    a_master_that_is_killed_is_replaced_and_what_it_alone_had_is_told,
    a_master_that_was_one_before_begins_anew,
    a_master_that_is_not_told_that_it_is_none_is_left,
    passwords_of_a_master_and_of_sentinels_are_different_and_both_speak_tls,
    what_is_wrong_with_sentinels_is_said,
]
