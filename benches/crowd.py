"""As many idle WebSockets as one machine holds, and one publication to all of them.

Usage: python crowd.py SUBJECT [CONNECTIONS]
    SUBJECT is the server of the comparison (benches/compare), which is the library. Without a number it goes on until
    something stops it.

Servers and clients are on this machine, over loopback: as many processes of either kind as the limit of descriptors asks
for. Each block of PORTS connections is from a source address of its own. It needs no package.

Prints what was reached and what stopped it, bytes for each connection in the server's process and in the kernel (which
has both ends, and what epoll needs of both), and how long a publication of 100 B took to reach all.
"""

import errno
import multiprocessing
import os
import re
import resource
import select
import socket
import subprocess
import sys
import time

CONNECTIONS = 250_000  # of one process, at the most
PORTS = 25_000
STEP = 5_000
AT_ONCE = 100  # fewer than wait to be accepted by a listener of the library
SPARE_BYTES = 1_500_000_000  # for everything else on the machine
# `MemAvailable` has slabs in it that are reclaimable, but not while they are what sockets are made of.
FREE = ("MemFree", r"Active\(file\)", r"Inactive\(file\)")
PATIENCE = 120  # seconds
ASKED = (
    b"GET /fan HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def meminfo(*names):
    """The sum of these, in bytes; a name is a regular expression."""
    text = open("/proc/meminfo").read()
    return sum(int(re.search(rf"^{name}: *(\d+)", text, re.M)[1]) for name in names) * 1024


def anonymous(pid):
    return int(re.search(r"RssAnon:\s*(\d+)", open(f"/proc/{pid}/status").read())[1]) * 1024


def raise_limit():
    """Lets this process and its children have as many descriptors as they may; gives for how many connections that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # A server has some for itself.
    return min(CONNECTIONS, (hard - 200) // STEP * STEP)


def opened(port, source):
    peer = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # Else a port would be taken that no other connection of this address may have.
    peer.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    peer.bind((source, 0))
    code = peer.connect_ex(("127.0.0.1", port))
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, os.strerror(code))
    return peer


class Client:
    """One process of clients."""

    def __init__(self, nth, port, pipe):
        self.nth, self.port, self.pipe = nth, port, pipe
        self.poll, self.peers = select.epoll(), {}

    def connect(self, wanted):
        """So many more. Gives how many there are now, and why not all of them."""
        done = 0
        while done < wanted:
            some, at = {}, len(self.peers)
            # Each address of 127/8 is this machine.
            source = f"127.{1 + self.nth // 250}.{1 + self.nth % 250}.{1 + at // PORTS}"
            try:
                for _ in range(min(AT_ONCE, wanted - done, PORTS - at % PORTS)):
                    peer = opened(self.port, source)
                    some[peer.fileno()] = self.peers[peer.fileno()] = peer
                    self.poll.register(peer, select.EPOLLIN | select.EPOLLOUT)
                self.shake_hands(some)
            except OSError as error:
                for descriptor, peer in some.items():
                    del self.peers[descriptor]
                    peer.close()
                return len(self.peers), str(error)
            done += len(some)
        return len(self.peers), None

    def shake_hands(self, some):
        left, ends = set(some), time.monotonic() + PATIENCE
        while left:
            if time.monotonic() > ends:
                raise OSError("a handshake takes too long")
            for descriptor, event in self.poll.poll(1, 1024):
                peer = self.peers[descriptor]
                if event & select.EPOLLOUT:
                    peer.send(ASKED)
                    self.poll.modify(descriptor, select.EPOLLIN)
                elif descriptor in left:
                    answer = peer.recv(1024)
                    if not answer.startswith(b"HTTP/1.1 101"):
                        raise OSError(f"it is answered {answer[:60]!r}")
                    left.discard(descriptor)

    def hear(self, publishes):
        """Waits until each connection has a publication, which one of them may make; how many have one."""
        heard, ends = 0, time.monotonic() + PATIENCE
        if publishes:
            # A text message with a mask of zeros (RFC 6455 §5.2).
            next(iter(self.peers.values())).send(b"\x81" + bytes([0x80 | 100, 0, 0, 0, 0]) + b"x" * 99 + b"!")
        while heard < len(self.peers) and time.monotonic() < ends:
            for descriptor, _ in self.poll.poll(1, 4096):
                if self.peers[descriptor].recv(4096).endswith(b"!"):
                    heard += 1
        return heard

    def run(self):
        while True:
            what, number = self.pipe.recv()
            if what == "end":
                return
            self.pipe.send(self.connect(number) if what == "connect" else self.hear(number))


class Server:
    def __init__(self, program):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        # The clients would be busy with Pongs.
        environment = {**os.environ, "NO_PINGS": "1"}
        command = [program, f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()
        self.before, self.connections = anonymous(self.process.pid), 0


def grow(program, wanted, most, servers, clients):
    """Makes connections, and tells why no more were made."""
    total = 0
    while total < wanted:
        if meminfo(*FREE) < SPARE_BYTES:
            return "memory"
        if not servers or servers[-1].connections >= most:
            servers.append(Server(program))
        if not clients or clients[-1][3] is not servers[-1]:
            here, there = multiprocessing.Pipe()
            client = Client(len(clients), servers[-1].port, there)
            process = multiprocessing.Process(target=client.run, daemon=True)
            process.start()
            clients.append([process, here, 0, servers[-1]])
        client = clients[-1]
        client[1].send(("connect", STEP))
        count, why = client[1].recv()
        total += count - client[2]
        servers[-1].connections += count - client[2]
        client[2] = count
        if why:
            return why
    return "nothing: so many were asked for"


def main():
    program, *wanted = sys.argv[1:]
    wanted = int(wanted[0]) if wanted else sys.maxsize
    servers, clients = [], []
    try:
        sys.exit(measure(program, wanted, servers, clients))
    finally:
        for client in clients:
            client[0].kill()
        for server in servers:
            server.process.kill()


def measure(program, wanted, servers, clients):
    """Whether someone did not hear the publication."""
    most = raise_limit()
    kernel = meminfo("Slab", "KernelStack", "PageTables", "Percpu")
    began = time.monotonic()
    why = grow(program, wanted, most, servers, clients)
    took, total = time.monotonic() - began, sum(client[2] for client in clients)
    print(f"{total:,} connections at {len(servers)} servers in {took:.0f} s; stopped by {why}", flush=True)
    ours = sum(anonymous(it.process.pid) - it.before for it in servers)
    kernel = meminfo("Slab", "KernelStack", "PageTables", "Percpu") - kernel
    print(f"bytes for each: {ours / total:.0f} in the server, {kernel / total:.0f} in the kernel (both ends)", flush=True)
    began, told = time.monotonic(), set()
    for client in clients:
        client[1].send(("hear", client[3] not in told))
        told.add(client[3])
    heard = sum(client[1].recv() for client in clients)
    took = time.monotonic() - began
    print(f"a publication of 100 B at each server: heard by {heard:,} within {took:.1f} s")
    return heard != total


if __name__ == "__main__":
    main()
