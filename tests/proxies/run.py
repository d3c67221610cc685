"""pushloop behind proxies that are really there, with the configurations of docs/PROXIES.md.

Usage: python run.py SERVER PEER [idle]
    SERVER is the pushloop binary, and PEER the example `client_peer`; with `idle`, only that a silent WebSocket and a
    silent event stream outlive the proxies' timeouts, in 90 s.

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import asyncio
import csv
import grp
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pages
import streams
import websockets.asyncio.client as websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

HERE = Path(__file__).parent
PATIENCE = 30  # seconds, for one check
HOST = "example.org"
# Where clients come from, when it matters: not from where the proxy is.
CLIENTS = ("127.0.0.5", "127.0.0.6")
BELIEVES = ["--anyone-may-publish", "--trust-proxy", "127.0.0.1"]
BEHIND = [*BELIEVES, "--trust-proxy", "unix", "--client-header", "x-forwarded-for"]
KEEPS = [*BEHIND, "--history", "100"]
PROXIED = [*BELIEVES, "--listen-proxied", "127.0.0.1:9002"]
# nginx reaches the server by its Unix socket, the others by its port.
NGINX = "daemon off; error_log stderr; pid nginx.pid;"
PROXIES = {
    "nginx": ("nginx.conf", ["nginx", "-p", ".", "-c", "config", "-g", NGINX]),
    "haproxy": ("haproxy.cfg", ["haproxy", "-db", "-f", "config"]),
    "caddy": ("Caddyfile", ["caddy", "run", "--adapter", "caddyfile", "--config", "config"]),
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class World:
    """One server, and one proxy in front. The server is the small one for clients, if it has no options."""

    def __init__(self, server, proxy, edit, options):
        # nginx' workers go from there to the socket.
        self.folder = Path(tempfile.mkdtemp(prefix="pushloop-"))
        self.folder.chmod(0o755)
        self.server_port, self.port, self.tls_port = free_port(), free_port(), free_port()
        self.address = f"{'127.0.0.1' if options is None else HOST}:{self.port}"
        file, command = PROXIES[proxy]
        config = (HERE / file).read_text()
        proxied = f"127.0.0.1:{free_port()}"
        here = {
            "listen 80;": f"listen 127.0.0.1:{self.port};",
            "bind :80": f"bind 127.0.0.1:{self.port}",
            ":80 {": f"{{\n\tadmin off\n\tauto_https off\n}}\n:{self.port} {{\n\tbind 127.0.0.1",
            "127.0.0.1:9001": f"127.0.0.1:{self.server_port}",
            "127.0.0.1:9002": proxied,
            "127.0.0.1:9443": f"127.0.0.1:{self.tls_port}",
            "/run/pushloop/socket": str(self.folder / "socket"),
        }
        # Edits first: what they put in has places, too.
        for old, new in (*edit.items(), *here.items()):
            config = config.replace(old, new)
        (self.folder / "config").write_text(config)
        if "tls.pem" in config:
            pages.certify(self.folder)
        self.log = (self.folder / "log").open("w")
        environment = {**os.environ, "HOME": str(self.folder)}
        self.proxy = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        if options is None:
            self.serve = [server, f"127.0.0.1:{self.server_port}"]
        else:
            places = (f"127.0.0.1:{self.server_port}", f"unix:{self.folder / 'socket'}")
            self.serve = [server, *(option for place in places for option in ("--listen", place))]
            self.serve += ["--allow-host", HOST, "--drain-delay", "3", "--drain-spread", "1"]
            self.serve += [proxied if option == "127.0.0.1:9002" else option for option in options]
        self.start_server()

    def start_server(self):
        # As a service with `Group=www-data` would be: nginx' workers are of that group.
        names = [group.gr_name for group in grp.getgrall()]
        group = {"group": "www-data"} if os.geteuid() == 0 and "www-data" in names else {}
        self.server = subprocess.Popen(
            self.serve, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, **group
        )

    def end(self):
        self.server.kill()
        self.proxy.terminate()
        for process in (self.server, self.proxy):
            process.wait(PATIENCE)
        self.log.close()
        shutil.rmtree(self.folder)

    def connect(self, path, **options):
        """A WebSocket through the proxy."""
        return websocket.connect(
            f"ws://{self.address}{path}", host="127.0.0.1", port=self.port, proxy=None, open_timeout=PATIENCE, **options
        )

    async def ask(self, method, path, body=None, port=None, kind="text/plain"):
        """Status and text of an answer: through the proxy, or of the server at its port."""
        url = f"http://127.0.0.1:{port or self.port}"
        headers = {"Host": self.address, "Content-Type": kind}
        # The session would decode and encode a path in a URL.
        url = aiohttp.client.URL(url + path, encoded=True)
        async with self.session.request(method, url, data=body, headers=headers) as answer:
            return answer.status, await answer.text()

    async def client_of(self, address, headers, port=None):
        """Which address the server takes for the client's, when it comes from this one."""
        connector = aiohttp.TCPConnector(local_addr=(address, 0))
        url = f"http://127.0.0.1:{port or self.port}/$client"
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(url, headers=[("Host", self.address), *headers]) as answer:
                assert answer.status == 200, answer.status
                return (await answer.text()).strip()

    async def ready(self):
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if (await self.ask("GET", "/readyz"))[0] == 200:
                        return
                except aiohttp.ClientError:
                    pass  # The proxy is not there yet.
                await asyncio.sleep(0.05)


async def delivers(world, path, topic):
    """What is published to the topic at the server itself arrives once at a WebSocket of this path at the proxy."""
    async with world.connect(path) as client:
        answer = await world.ask("POST", topic, b"directly", world.server_port)
        assert answer == (200, '{"delivered":1}\n'), answer
        # So does what is published through the proxy; and nothing in between or after.
        answer = await world.ask("POST", path, b"by the proxy")
        assert answer == (200, '{"delivered":1}\n'), answer
        await client.send("by the client")
        for expected in ("directly", "by the proxy", "by the client"):
            message = await client.recv()
            assert message == expected, message


def path(path, topic):
    return lambda world: delivers(world, path, topic)


async def chunked(world):
    """So long that no proxy has it with the head, and a length for it."""
    message = "0123456789abcdef" * 3000

    async def pieces():
        for begin in range(0, len(message), 5000):
            yield message[begin : begin + 5000].encode()

    async with world.connect("/chunked") as client:
        answer = await world.ask("POST", "/chunked", pieces())
        assert answer == (200, '{"delivered":1}\n'), answer
        assert await client.recv() == message, "another text"


async def large(world):
    """More than the buffers of a proxy, both ways; one byte more is refused as it is without a proxy."""
    most = 64 << 10
    async with world.connect("/large") as client:
        for message in (b"\xff" * most, b"\x00\xff" * (most // 2)):
            answer = await world.ask("POST", "/large", message, kind="application/octet-stream")
            assert answer == (200, '{"delivered":1}\n'), answer
            assert await client.recv() == message, "other bytes"
        status, _ = await world.ask("POST", "/large", bytes(most + 1))
        assert status == 413, status


async def health(world):
    for path in ("/healthz", "/readyz"):
        status, _ = await world.ask("GET", path)
        assert status == 200, (path, status)


async def origins(world):
    async with world.connect("/origin", origin=f"http://{world.address}"):
        pass
    for foreign in (f"http://{HOST}", "http://elsewhere.example"):
        try:
            async with world.connect("/origin", origin=foreign):
                raise AssertionError(f"{foreign} was let in")
        except InvalidStatus as refused:
            assert refused.response.status_code == 403, refused


async def close(world):
    async with world.connect("/close") as client:
        await client.close(4001, "bye")
        assert client.close_code == 4001, client.close_code


# What a client may say of itself, to pass for another; `Connection` has a proxy take a header away.
FORGED = [
    [],
    [("X-Forwarded-For", "192.0.2.1")],
    [("X-Forwarded-For", "192.0.2.1, 127.0.0.1"), ("X-Forwarded-For", "127.0.0.1")],
    [("X-Forwarded-For", "192.0.2.1"), ("Connection", "X-Forwarded-For")],
    [("X-Real-IP", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")],
]


async def addresses(world):
    """Two clients in turn, since the proxy may send what they ask over one connection."""
    for headers in FORGED:
        for address in CLIENTS:
            for port in (world.port, world.server_port):
                told = await world.client_of(address, headers, port)
                assert told == address, (told, headers, port)


def nobody_but(proxy):
    async def check(world):
        for headers in FORGED:
            told = await world.client_of(CLIENTS[0], headers)
            assert told == proxy, (told, headers)

    return check


async def subscribes(world, received):
    """Keeps what comes, until the server says that it goes."""
    async with world.connect("/traffic", compression=None) as client:
        received.append([])
        messages = received[-1]
        try:
            async for message in client:
                messages.append(message)
        except ConnectionClosed as end:
            assert end.rcvd, "cut off without a Close"
        assert client.close_code == 1001, client.close_code


async def publishes(world, name, acknowledged, told):
    """Publishes until the server is gone: what was acknowledged, and with how many deliveries."""
    for number in range(100_000):
        body = f"{name} {number}"
        try:
            status, text = await world.ask("POST", "/traffic", body.encode())
        except aiohttp.ClientError:
            status = None  # The proxy may cut it off when the server has.
        if status == 200:
            acknowledged[body] = json.loads(text)["delivered"]
        elif told.is_set() and world.server.poll() is not None:
            return
        await asyncio.sleep(0)


async def sigterm(world):
    """Told to end with traffic: what was acknowledged arrived, and nothing arrived twice."""
    received, acknowledged, told = [], {}, asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(subscribes(world, received))
        while len(received) < 3:
            await asyncio.sleep(0.01)
        for name in "abcd":
            tasks.create_task(publishes(world, name, acknowledged, told))
        while len(acknowledged) < 200:
            await asyncio.sleep(0.01)
        told.set()
        world.server.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(world.server.wait, PATIENCE)
    assert status == 0, f"the server's status is {status}"
    for messages in received:
        assert len(messages) == len(set(messages)), "something arrived twice"
    for body, delivered in acknowledged.items():
        arrived = sum(body in messages for messages in received)
        assert arrived == delivered, f"{body!r} was delivered to {delivered}, and arrived at {arrived}"
    assert 3 in acknowledged.values(), "nothing was delivered"
    world.start_server()
    await world.ready()
    await delivers(world, "/again", "/again")


async def idle_websocket(world):
    async with world.connect("/idle", ping_interval=None) as client:
        await asyncio.sleep(75)
        await client.send("still there")
        assert await client.recv() == "still there"


async def idle(world):
    await asyncio.gather(idle_websocket(world), streams.idle(world))


CHECKS = {
    "topic": path("/topic", "/topic"),
    "comma": path("/a%2Cb", "/a%2Cb"),
    "prefix": path("/live/topic", "/topic"),
    "prefix-comma": path("/live/a%2Cb", "/a%2Cb"),
    "prefix-slash": path("/live/a%2Fb%3Fc%25", "/a%2Fb%3Fc%25"),
    "query": path("/?topic=a%2Cb", "/a%2Cb"),
    "prefix-query": path("/live/?topic=a%2Cb", "/a%2Cb"),
    "chunked": chunked,
    "large": large,
    "health": health,
    "origins": origins,
    "close": close,
    "addresses": addresses,
    "sigterm": sigterm,
}


@asynccontextmanager
async def world_of(server, proxy, edit={}, options=()):
    world = World(server, proxy, edit, options)
    try:
        async with aiohttp.ClientSession() as world.session:
            await world.ready()
            yield world
    except Exception:
        print((world.folder / "log").read_text()[-1000:])
        raise
    finally:
        await asyncio.to_thread(world.end)


async def attempt(name, check, patience=PATIENCE):
    """Whether it failed."""
    try:
        await asyncio.wait_for(check, patience)
        print(f"ok {name}", flush=True)
        return False
    except Exception as problem:  # whatever it is, the other checks still run
        print(f"FAIL {name}: {problem!r}", flush=True)
        return True


async def through(server, proxy, checks, patience=PATIENCE):
    failed = []

    async def run():
        async with world_of(server, proxy, options=BEHIND) as world:
            for name, check in checks.items():
                failed.append(await attempt(f"{proxy}-{name}", check(world), patience))

    failed.append(await attempt(f"{proxy}-begins", run(), patience * len(checks) + PATIENCE))
    return any(failed)


STATUS = {"frontend web": "frontend web\n    stats uri /haproxy"}


async def passes_its_check(world):
    """As HAProxy's own page tells, once there was a check."""
    verdict = "INI"
    # L4CON: the server was not there yet.
    while verdict in ("", "INI", "L4CON"):
        await asyncio.sleep(0.05)
        _, table = await world.ask("GET", "/haproxy;csv")
        verdict = next(row["check_status"] for row in csv.DictReader(table.splitlines()) if row["svname"] == "one")
        # A star for the next check, which is under way.
        verdict = verdict.removeprefix("* ")
    assert verdict == "L7OK", verdict


async def two_topics(world):
    async with world.connect("/live/a%2Cb") as client:
        for topic in "ab":
            answer = await world.ask("POST", f"/{topic}", topic.encode(), world.server_port)
            assert answer == (200, '{"delivered":1}\n'), answer
            assert await client.recv() == topic


async def own_page_is_refused(world):
    try:
        async with world.connect("/origin", origin=f"http://{world.address}"):
            raise AssertionError("the port was passed on")
    except InvalidStatus as refused:
        assert refused.response.status_code == 403, refused


async def guarded(world):
    for path, expected in (("/secret", 403), ("/x,secret", 400), ("/?topic=secret", 400), ("/x%2Csecret", 200)):
        status, _ = await world.ask("POST", path, b"hello")
        assert status == expected, (path, status)


async def both(world):
    await delivers(world, "/topic", "/topic")
    await addresses(world)


def send_proxy(how):
    return {**STATUS, "option forwardfor": "", "127.0.0.1:9001": f"127.0.0.1:9002 {how}"}


async def proxied(world):
    """HAProxy's own check has such a header, too, which names no client."""
    await passes_its_check(world)
    await both(world)


# What the page says of other configurations: proxy, what is in place of what, options of the server, check.
NGINX_PORT = {"unix:/run/pushloop/socket": "127.0.0.1:9001"}
GUARD = "location /secret {\n            return 403;\n        }\n        location / {"
VARIANTS = {
    # It asks OPTIONS / HTTP/1.0.
    "haproxy-check-without-path": (
        "haproxy",
        {**STATUS, "option httpchk GET /readyz": "option httpchk"},
        [],
        passes_its_check,
    ),
    "nginx-host-without-port": ("nginx", {"$http_host": "$host"}, [], own_page_is_refused),
    "nginx-path-in-proxy-pass": (
        "nginx",
        {"http://pushloop$path_below_live": "http://pushloop/"},
        [],
        two_topics,
    ),
    "nginx-unbuffered": ("nginx", {"proxy_http_version": "proxy_request_buffering off; proxy_http_version"}, [], chunked),
    "nginx-port": ("nginx", NGINX_PORT, BEHIND, both),
    "haproxy-unix": ("haproxy", {"127.0.0.1:9001": "unix@/run/pushloop/socket"}, BEHIND, both),
    "caddy-unix": ("caddy", {"127.0.0.1:9001": "unix//run/pushloop/socket"}, BEHIND, both),
    "nginx-guard": ("nginx", {"location / {": GUARD}, ["--one-topic"], guarded),
    "haproxy-send-proxy": ("haproxy", send_proxy("send-proxy"), PROXIED, proxied),
    "haproxy-send-proxy-v2": ("haproxy", send_proxy("send-proxy-v2"), PROXIED, proxied),
    "nginx-is-not-believed": ("nginx", {}, [], nobody_but("no address")),
    "haproxy-is-not-believed": ("haproxy", {}, [], nobody_but("127.0.0.1")),
    "caddy-is-not-believed": ("caddy", {}, [], nobody_but("127.0.0.1")),
    "nginx-http2": ("nginx", {"listen 80;": pages.NGINX_TLS}, KEEPS, pages.many_streams),
    "haproxy-http2": ("haproxy", {"bind :80": pages.HAPROXY_TLS}, KEEPS, pages.many_streams),
    "haproxy-browser": ("haproxy", {}, BEHIND, pages.own),
    "nginx-streams": ("nginx", {}, KEEPS, streams.served),
    # The server asks for it itself.
    "nginx-streams-buffered": ("nginx", {"proxy_buffering off;": ""}, KEEPS, streams.served),
    "haproxy-streams": ("haproxy", {}, KEEPS, streams.served),
    "caddy-streams": ("caddy", {}, KEEPS, streams.served),
    # Without options: the server for clients, at its port.
    "nginx-events": ("nginx", NGINX_PORT, None, streams.written),
    "haproxy-events": ("haproxy", {}, None, streams.written),
    "caddy-events": ("caddy", {}, None, streams.written),
}


async def variant(server, peer, proxy, edit, options, check):
    assert all(shown in (HERE / PROXIES[proxy][0]).read_text() for shown in edit), "not in the configuration"
    async with world_of(peer if options is None else server, proxy, edit, options) as world:
        await check(world)


def documented():
    """The page shows what is tested, to the letter."""
    page = (HERE / "../../docs/PROXIES.md").read_text()
    for file, _ in PROXIES.values():
        assert (HERE / file).read_text() in page, f"docs/PROXIES.md shows another {file}"


async def main():
    server, peer, *what = sys.argv[1:]
    if what == ["idle"]:
        failed = await asyncio.gather(*(through(server, proxy, {"idle": idle}, 120) for proxy in PROXIES))
    else:
        failed = [await attempt("documented", asyncio.to_thread(documented))]
        failed += [await through(server, proxy, CHECKS) for proxy in PROXIES]
        failed += [await attempt(name, variant(server, peer, *how), 3 * PATIENCE) for name, how in VARIANTS.items()]
    return any(failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
