"""A topic's fan-out, idle subscribers and new ones: pushloop beside Nchan, Pushpin and sockudo.

Usage: python others.py SERVER [SUBSCRIBERS [ROUNDS [SOCKUDO]]]
    SERVER is the pushloop binary. Nchan and Pushpin are Debian's (libnginx-mod-nchan, pushpin); SOCKUDO is the program that
    `cargo install sockudo` makes, and is left out without it.

Each subject is one process for its connections, or what it needs of them, and keeps no history. All subjects are there at
once, and are asked in turns: medians, and the least and most. What is counted is what all processes of a subject take: of a
processor for one delivery of 100 B and for one new subscriber, and of memory (anonymous and shared) for an idle one.
"""

import contextlib
import hashlib
import hmac
import json
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import doors

NCHAN = """
load_module modules/ngx_nchan_module.so;
daemon off; worker_processes 1; worker_rlimit_nofile 30000; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 25000; }}
http {{
    access_log off; keepalive_requests 1000000000; nchan_shared_memory_size 256M; client_body_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/sub/(\\w+)$ {{ nchan_subscriber; nchan_channel_id $1; nchan_subscriber_first_message newest; }}
        location ~ ^/pub/(\\w+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_store_messages off; }}
    }}
}}
"""
# Its routes know a test, which holds /stream open for the channel of that name.
PUSHPIN = """
[global]
include=/usr/lib/pushpin/internal.conf
rundir={folder}
ipc_prefix={port}-
port_offset={offset}
[runner]
services=condure,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={folder}
client_maxconn=25000
[proxy]
routesfile={folder}/routes
[handler]
push_in_http_addr=127.0.0.1
push_in_http_port=5561
message_rate=1000000
message_hwm=1000000
"""
APP_SECRET = "the-secret-of-an-application"
CONNECTS = 500
SOCKUDO = {
    "host": "127.0.0.1", "debug": False, "metrics": {"enabled": False}, "rate_limiter": {"enabled": False},
    "app_manager": {"driver": "memory", "array": {"apps": [{
        "id": "1", "key": "key", "secret": APP_SECRET, "enabled": True,
        "max_connections": "100000", "max_client_events_per_second": "100000", "enable_client_messages": False,
    }]}},
}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Subject(doors.Server):
    """A server of somebody else's."""

    def __init__(self, command, port, **more):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
        self.address = self.pushes = ("127.0.0.1", port)
        self.reached(port).close()

    def reached(self, port):
        for _ in range(300):
            try:
                return socket.create_connection(("127.0.0.1", port), 30)
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.process.args[0]} does not begin")


class Nchan(Subject):
    doors = {
        "WebSocket": ("/sub/{}", doors.UPGRADE, lambda topic: b"", b"\r\n\r\n"),
        "event stream": ("/sub/{}", "Accept: text/event-stream\r\n", lambda topic: b"", b": hi"),
    }

    def __init__(self, folder):
        port = free_port()
        Path(folder, "nginx.conf").write_text(NCHAN.format(folder=folder, port=port))
        super().__init__(["nginx", "-c", f"{folder}/nginx.conf"], port)

    def publish(self, topic, payload, count):
        self.posts(f"/pub/{topic}", "Content-Type: text/plain\r\n", payload, count, b"queued messages")


class Pushpin(Subject):
    doors = {"stream of HTTP": ("/stream", "", lambda topic: b"", b"\r\n\r\n")}

    def __init__(self, folder):
        port = free_port()
        offset = port % 10_000
        Path(folder, "routes").write_text("* test\n")
        text = PUSHPIN.format(folder=folder, port=port, offset=offset)
        Path(folder, "pushpin.conf").write_text(text)
        super().__init__(["pushpin", "--config", f"{folder}/pushpin.conf"], port)
        self.pushes = ("127.0.0.1", 5561 + offset)
        self.reached(5561 + offset).close()
        # It listens before its parts have found each other.
        for _ in range(50):
            with contextlib.suppress(TimeoutError), socket.create_connection(self.address, 1) as stream:
                stream.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if b" 200 " in stream.recv(4096):
                    break
            time.sleep(0.1)

    def publish(self, topic, payload, count):
        item = {"channel": "test", "formats": {"http-stream": {"content": payload.decode()}}}
        body = json.dumps({"items": [item]}).encode()
        for _ in range(count):
            self.posts("/publish/", "", body, 1, b"Published")


class Sockudo(Subject):
    doors = {"Pusher": doors.DOORS["Pusher"]}

    def __init__(self, folder, program):
        port = free_port()
        Path(folder, "sockudo.json").write_text(json.dumps({**SOCKUDO, "port": port}))
        super().__init__([program, "--config", f"{folder}/sockudo.json"], port)

    def publish(self, topic, payload, count):
        events = [{"name": "message", "channel": topic, "data": payload.decode()}] * count
        body = json.dumps({"batch": events}).encode()
        asked = f"auth_key=key&auth_timestamp={int(time.time())}&auth_version=1.0&body_md5={hashlib.md5(body).hexdigest()}"
        signed = f"POST\n/apps/1/batch_events\n{asked}".encode()
        signature = hmac.new(APP_SECRET.encode(), signed, "sha256").hexdigest()
        path = f"/apps/1/batch_events?{asked}&auth_signature={signature}"
        self.posts(path, "Content-Type: application/json\r\n", body, 1, b"\r\n\r\n{")


def connects(server, door):
    """Microseconds of a processor for one that comes."""
    before = server.processor_seconds()
    streams = [server.opens(door, "connects") for _ in range(CONNECTS)]
    took = server.processor_seconds() - before
    for stream in streams:
        stream.close()
    return took / CONNECTS * 1e6


def show(values, digits=2):
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main():
    program, *more = sys.argv[1:]
    subscribers, rounds = (int(it) for it in (*more[:2], *["1000", "5"][len(more[:2]):]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    makers = {"pushloop": lambda folder: doors.Server(program, folder), "Nchan": Nchan, "Pushpin": Pushpin}
    if more[2:]:
        makers["sockudo"] = lambda folder: Sockudo(folder, more[2])
    subjects, idle = {}, {}
    with tempfile.TemporaryDirectory() as root:
        def begin(name):
            folder = tempfile.mkdtemp(dir=root)
            return makers[name](folder)
        for name in makers:
            subjects[name] = begin(name)
            for door in subjects[name].doors:
                idle[name, door] = doors.idle(begin(name), door)
        fans, comes = {at: [] for at in idle}, {at: [] for at in idle}
        for nth in range(rounds + 1):
            for at in list(idle) if nth % 2 else reversed(idle):
                server, door = subjects[at[0]], at[1]
                # Made anew each time, with a topic of its own: some close one that answers no Pings.
                topic = f"fan{sum(map(len, fans.values()))}"
                with contextlib.closing(doors.Crowd(server, door, topic, subscribers, 100)) as crowd:
                    fans[at].append(crowd.run())
                comes[at].append(connects(server, door))
        for server in subjects.values():
            server.end()
    print(f"| server | door | µs for one of {subscribers:,} deliveries | µs for a new subscriber | bytes of an idle one |")
    print("| --- | --- | --- | --- | --- |")
    for name, door in idle:
        row = show(fans[name, door][1:]), show(comes[name, door][1:], 0), f"{idle[name, door]:,.0f}"
        print(f"| {name} | {door} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
