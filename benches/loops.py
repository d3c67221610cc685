"""Deliveries with one loop and with two: how many in a second, and what each takes of a processor.

Usage: python loops.py SERVER [SECONDS [OTHER]]
    SERVER is the pushloop binary. With OTHER, a second binary, its one loop is compared with that of SERVER. Nothing has
    to be installed.

Many raw WebSockets hear one topic, and one of them sends a batch of messages, which is published to it; the next when all
have the one before. Server and load share the machine, so that the sum of both is what it can do. So three numbers are
told: deliveries a second; what the server takes for a delivery, all its threads together; and deliveries for each second
of a processor of the busiest loop, which is what a loop gives where the load is elsewhere. All of it in turns; medians
are printed, and the least and most, and ratios round by round.
"""

import selectors
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

SUBSCRIBERS = 200
LINES = 20
PAYLOAD = b"x" * 100
FRAME = 102
PING, PONG = b"\x89\x00", b"\x8a\x80\0\0\0\0"
ROUNDS = 7
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def processor_seconds(pid):
    """What each thread of a process has taken."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {it.name: int((it / "schedstat").read_text().split()[0]) / 1e9 for it in threads}


def read_head(stream):
    head = b""
    while b"\r\n\r\n" not in head:
        head += stream.recv(4096)
    return head


class Server:
    def __init__(self, program, loops):
        options = [program, "--listen", "127.0.0.1:0", *(["--loops", str(loops)] if loops > 1 else [])]
        self.process = subprocess.Popen(options, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        host, port = line.split("http://")[1].strip("/\n").split(":")
        self.address = (host, int(port))
        while "publish:" not in self.process.stdout.readline():
            pass
        self.polls = selectors.DefaultSelector()
        streams = [socket.create_connection(self.address) for _ in range(SUBSCRIBERS)]
        for stream in streams:
            stream.sendall(f"GET /rate HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode())
            assert b" 101 " in read_head(stream)
            stream.setblocking(False)
            self.polls.register(stream, selectors.EVENT_READ)
        self.publisher = streams[0]

    def run(self, seconds):
        # FIN and text; masked with zeros.
        batch = (bytes([0x81, 0x80 | len(PAYLOAD), 0, 0, 0, 0]) + PAYLOAD) * LINES
        expected, deliveries = SUBSCRIBERS * LINES * FRAME, 0
        before, began = processor_seconds(self.process.pid), time.monotonic()
        while time.monotonic() < began + seconds:
            self.publisher.sendall(batch)
            left = expected
            while left > 0:
                for key, _ in self.polls.select():
                    got = key.fileobj.recv(1 << 18)
                    # Payloads have no such byte.
                    pings = got.count(PING)
                    if pings:
                        key.fileobj.sendall(PONG)
                    left -= len(got) - pings * len(PING)
            assert left == 0, "each subscriber gets all, once"
            deliveries += SUBSCRIBERS * LINES
        took = time.monotonic() - began
        after = processor_seconds(self.process.pid)
        threads = [after[it] - before.get(it, 0) for it in after]
        return deliveries / took, sum(threads) / deliveries * 1e6, deliveries / max(threads)

    def end(self):
        self.process.terminate()
        self.process.wait()


def show(name, values, unit=""):
    print(f"{name}: {statistics.median(values):,.3f} {unit} ({min(values):,.3f} to {max(values):,.3f})")


def main():
    program, *more = sys.argv[1:]
    seconds = float(more[0]) if more else 2
    subjects = {"one loop": (program, 1), "two loops": (program, 2)}
    if more[1:]:
        subjects["the other's one loop"] = (more[1], 1)
    figures = {name: [] for name in subjects}
    servers = {name: Server(*subject) for name, subject in subjects.items()}
    try:
        for nth in range(ROUNDS):
            names = list(servers)
            for name in names if nth % 2 == 0 else reversed(names):
                figures[name].append(servers[name].run(seconds))
    finally:
        for server in servers.values():
            server.end()
    units = ("deliveries a second", "µs of a processor for a delivery", "deliveries a second of the busiest loop's processor")
    for at, unit in enumerate(units):
        for name, values in figures.items():
            show(f"{name}, {unit}", [it[at] for it in values])
        for name in list(figures)[1:]:
            ratios = [theirs[at] / ours[at] for theirs, ours in zip(figures[name], figures["one loop"])]
            show(f"  {name} to one loop", ratios, "times")


if __name__ == "__main__":
    main()
