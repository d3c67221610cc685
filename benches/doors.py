"""What a subscriber takes at each door: plain WebSockets, event streams, Pusher's clients, and Centrifuge's.

Usage: python doors.py SERVER [SUBSCRIBERS [ROUNDS]]
    SERVER is the pushloop binary. Nothing has to be installed.

Two figures for each door. Bytes of an idle subscriber: what the process' anonymous memory grows by between 2,000 of them and
IDLE more. The fan-out: SUBSCRIBERS hear one topic, to which batches are published, the next when all have the one before;
beside each door, in turns, plain WebSockets with messages that are as long as this door's are with all that is around them.
Server and load share the machine, so it is told what the server takes of a processor for a delivery, and how much of
the plain rate that is: medians, and the least and most.
"""

import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST, IDLE = 2_000, 16_000
SECONDS, LINES = 1.0, 10
PATIENCE = 60  # seconds
KEY = "a-key-to-publish-with"
MARK = b"x!!"  # the end of what is published, and in nothing that is around it
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def frame(opcode, payload):
    """A client's message, masked with zeros (RFC 6455 §5.2)."""
    short = len(payload) < 126
    length = bytes([0x80 | len(payload)]) if short else bytes([0xFE]) + len(payload).to_bytes(2)
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def delimited(message):
    return bytes([len(message)]) + message


def pusher(topic):
    return frame(1, f'{{"event":"pusher:subscribe","data":{{"channel":"{topic}"}}}}'.encode())


def centrifuge(topic):
    return frame(1, f'{{"id":1,"connect":{{}}}}\n{{"id":2,"subscribe":{{"channel":"{topic}"}}}}'.encode())


def protobuf(topic):
    channel = b"\x0a" + delimited(topic.encode())
    return frame(2, delimited(b"\x08\x01\x22\x00") + delimited(b"\x08\x02\x2a" + delimited(channel)))


# Of each door: where it is, what a client says there, and how the answer to it ends.
DOORS = {
    "plain WebSocket": ("/{}", UPGRADE, lambda topic: b"", b"\r\n\r\n"),
    "event stream": ("/{}", "Accept: text/event-stream\r\n", lambda topic: b"", b"\r\n\r\n"),
    "Pusher": ("/app/key?protocol=7", UPGRADE, pusher, b"subscription_succeeded"),
    "Centrifuge, JSON": ("/connection/websocket", UPGRADE, centrifuge, b'"id":2,"subscribe"'),
    "Centrifuge, Protobuf": ("/connection/websocket?format=protobuf", UPGRADE, protobuf, b"\x08\x02\x32\x00"),
}


class Server:
    doors = DOORS

    def __init__(self, program, folder):
        files = {name: Path(folder, name) for name in ("secret", "key")}
        files["secret"].write_text("the-secret-of-an-application")
        files["key"].write_text(KEY)
        options = ["--listen", "127.0.0.1:0", "--pusher-app", f"1:key:{files['secret']}", "--centrifuge",
                   "--publish-key-file", str(files["key"]), "--anyone-may-subscribe"]
        self.process = subprocess.Popen([program, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        host, port = self.process.stdout.readline().split("http://")[1].strip("/\n").split(":")
        self.address = self.pushes = (host, int(port))

    def held(self):
        """Bytes of memory of all its processes."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.processes()]
        kinds = re.compile(r"Rss(?:Anon|Shmem):\s*(\d+)")
        return sum(int(kilobytes) for text in texts for kilobytes in kinds.findall(text)) * 1024

    def processor_seconds(self):
        threads = [it for pid in self.processes() for it in Path(f"/proc/{pid}/task").iterdir()]
        return sum(int((it / "schedstat").read_text().split()[0]) for it in threads) / 1e9

    def processes(self):
        """The process, and those that it has begun."""
        found = [self.process.pid]
        for pid in found:
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def opens(self, door, topic):
        path, fields, says, ends = self.doors[door]
        stream = socket.create_connection(self.address, PATIENCE)
        stream.sendall(f"GET {path.format(topic)} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        told = b""
        while b"\r\n\r\n" not in told:
            told += stream.recv(4096)
        assert told.startswith((b"HTTP/1.1 101", b"HTTP/1.1 200")), told
        if says(topic):
            stream.sendall(says(topic))
        while ends not in told:
            some = stream.recv(4096)
            assert some, told
            told += some
        return stream

    def publish(self, topic, payload, count):
        self.posts(f"/{topic}", f"Authorization: Bearer {KEY}\r\n", payload, count, b"delivered")

    def posts(self, path, fields, body, count, answered):
        """Sends so many requests, and waits until each is answered. On a connection of its own: one that is silent
        between two of these is closed."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
        answers = b""
        with socket.create_connection(self.pushes, PATIENCE) as publisher:
            publisher.sendall((head.encode() + body) * count)
            while answers.count(answered) < count:
                some = publisher.recv(1 << 16)
                assert some and b"HTTP/1.1 4" not in some, some
                answers += some

    def end(self):
        self.process.terminate()
        self.process.wait()


def idle(server, door):
    """Bytes of one that is idle."""
    try:
        streams = [server.opens(door, "idle") for _ in range(FIRST)]
        before = server.held()
        streams += [server.opens(door, "idle") for _ in range(IDLE)]
        return (server.held() - before) / IDLE
    finally:
        server.end()


class Crowd:
    """Subscribers at one door."""

    def __init__(self, server, door, topic, subscribers, length):
        self.server, self.topic = server, topic
        self.payload = b"x" * (length - len(MARK)) + MARK
        self.polls = selectors.DefaultSelector()
        self.streams = [server.opens(door, topic) for _ in range(subscribers)]
        for stream in self.streams:
            stream.setblocking(False)
            # With the last bytes that were read, in which a mark may have begun.
            self.polls.register(stream, selectors.EVENT_READ, bytearray())

    def marks(self, key):
        """How many publications have come to an end in what a subscriber may read."""
        some = key.fileobj.recv(1 << 18)
        assert some, "a subscriber was closed"
        key.data.extend(some)
        count = key.data.count(MARK)
        del key.data[: 1 - len(MARK)]
        return count

    def length(self):
        """How long a publication is here."""
        self.server.publish(self.topic, self.payload, 1)
        told = {stream: b"" for stream in self.streams}
        while not all(MARK in it for it in told.values()):
            for key, _ in self.polls.select(PATIENCE):
                told[key.fileobj] += key.fileobj.recv(1 << 16)
        # What ends it may come behind the mark in a read of its own.
        return max(len(it) for it in told.values())

    def run(self):
        """Microseconds of the server's processor for a delivery."""
        before, began, deliveries = self.server.processor_seconds(), time.monotonic(), 0
        while time.monotonic() < began + SECONDS:
            self.server.publish(self.topic, self.payload, LINES)
            left = len(self.streams) * LINES
            while left > 0:
                ready = self.polls.select(PATIENCE)
                assert ready, f"{left} deliveries do not come"
                left -= sum(self.marks(key) for key, _ in ready)
            assert left == 0, "each subscriber gets all, once"
            deliveries += len(self.streams) * LINES
        return (self.server.processor_seconds() - before) / deliveries * 1e6

    def close(self):
        self.polls.close()
        for stream in self.streams:
            stream.close()


def fan_out(program, folder, door, subscribers, rounds):
    """What a delivery takes at the door, and how much of the plain rate for the same bytes that is."""
    server = Server(program, folder)
    try:
        crowd = Crowd(server, door, "fan", subscribers, 100)
        # Without the header of a message (RFC 6455 §5.2).
        plain = Crowd(server, "plain WebSocket", "plain", subscribers, crowd.length() - 4)
        took = [(crowd.run(), plain.run()) for _ in range(rounds + 1)][1:]
        crowd.close()
        plain.close()
    finally:
        server.end()
    return [it for it, _ in took], [theirs / ours for ours, theirs in took]


def main():
    program, *more = sys.argv[1:]
    subscribers, rounds = (int(it) for it in (*more, *["1000", "5"][len(more):]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"| door | bytes of an idle subscriber | µs for one of {subscribers:,} deliveries | of the plain rate for the same bytes |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for door in DOORS:
            held = idle(Server(program, folder), door)
            took, ratios = fan_out(program, folder, door, subscribers, rounds)
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"| {door} | {held:,.0f} | {statistics.median(took):.2f} | {spread} |", flush=True)


if __name__ == "__main__":
    main()
