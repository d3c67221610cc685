"""What is measured, and of which servers."""

from typing import Callable, NamedTuple


def significant(value):
    """Three digits that say something: `0.128`, `2.04`, `25.7`, `632`."""
    size = abs(value)
    digits = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 or not size else 3
    return f"{value:.{digits}f}"


def thousands(value):
    """`630`, `149k`, `2.61M`."""
    if value >= 999_500:
        return f"{significant(value / 1e6)}M"
    return f"{significant(value / 1e3)}k" if value >= 999.5 else significant(value)


def size(value):
    return f"{max(value, 0):.0f} B" if value < 1e3 else f"{significant(value / 1e3)} kB"


def micros(value):
    return f"{significant(value)} µs" if value < 1e3 else f"{significant(value / 1e3)} ms"


def instructions(value):
    return significant(value) if value < 1e3 else f"{value:,.0f}"


class Kind(NamedTuple):
    """How a row is measured."""

    # What of a run's result is the row's number, and how it is shown.
    field: str
    show: Callable
    # The difference, as a part, up to which two numbers are called the same. Times are noisy,
    # counts are not.
    tie: float
    more_is_better: bool = False
    # Counted, and not timed.
    counts: bool = False


# As fast as it goes.
RATE = Kind("rate", thousands, 0.10, more_is_better=True)
# On a schedule, at a part of the rate that the server reached as fast as it went.
PACED = Kind("p999_us", micros, 0.10)
CONNECT = Kind("server_cpu_us_per_connection", micros, 0.10)
IDLE = Kind("server_bytes_per_connection", size, 0.02)
# Of the server, for each message, while the client asks as fast as it can.
CPU = Kind("server_cpu_us_per_message", micros, 0.10)
SYSCALLS = Kind("syscalls_per_message", significant, 0.02, counts=True)
INSTRUCTIONS = Kind("instructions_per_message", instructions, 0.02, counts=True)

ECHO = "Echo: messages per second"
FAN = "Fan-out: deliveries per second"
LATENCY = "Latency at a fixed rate"
CONNECTIONS = "Connections"
TLS = "Over TLS: CPU time of the server, and memory"
COSTS = "For one echoed message of 20 B on 32 connections"


def echo(payload, connections, in_flight):
    return f"echo /echo --payload {payload} --connections {connections} --in-flight {in_flight}"


def fan(payload, in_flight, connections=1000):
    return echo(payload, connections, in_flight).replace("echo /echo", "fan /fan")


class Row(NamedTuple):
    name: str
    title: str
    group: str
    kind: Kind
    # The load client's mode, path and options.
    load: str
    tls: bool = False

    @property
    def deflate(self):
        return self.load.endswith("--deflate")


ROWS = [Row(*row) for row in [
    ("echo-20-32-1", "20 B, 32 connections, 1 in flight", ECHO, RATE, echo(20, 32, 1)),
    ("echo-20-500-1", "20 B, 500 connections, 1 in flight", ECHO, RATE, echo(20, 500, 1)),
    ("echo-20-32-16", "20 B, 32 connections, 16 in flight", ECHO, RATE, echo(20, 32, 16)),
    ("echo-20-32-128", "20 B, 32 connections, 128 in flight", ECHO, RATE, echo(20, 32, 128)),
    ("echo-1k-32-1", "1 KiB, 32 connections, 1 in flight", ECHO, RATE, echo(1 << 10, 32, 1)),
    ("echo-1k-32-64", "1 KiB, 32 connections, 64 in flight", ECHO, RATE, echo(1 << 10, 32, 64)),
    ("echo-16k-32-1", "16 KiB, 32 connections, 1 in flight", ECHO, RATE, echo(16 << 10, 32, 1)),
    ("echo-64k-32-1", "64 KiB, 32 connections, 1 in flight", ECHO, RATE, echo(64 << 10, 32, 1)),
    ("fan-1", "20 B to 1,000 subscribers, 1 outstanding", FAN, RATE, fan(20, 1)),
    ("fan-16", "20 B to 1,000 subscribers, 16 outstanding", FAN, RATE, fan(20, 16)),
    ("fan-64", "20 B to 1,000 subscribers, 64 outstanding", FAN, RATE, fan(20, 64)),
    ("fan-all", "20 B, 500 clients, each publishing to all 500", FAN, RATE,
     fan(20, 1, 500) + " --publishers all"),
    ("fan-512", "512 B to 1,000 subscribers, 4 outstanding", FAN, RATE, fan(512, 4)),
    ("fan-deflate", "512 B to 1,000 subscribers, 4 outstanding, compressed", FAN, RATE,
     fan(512, 4) + " --deflate"),
    ("open-loop", "1 KiB, 500 connections, at 70 % of the rate with 16 in flight: 99.9 % take at most",
     LATENCY, PACED, echo(1 << 10, 500, 16)),
    ("idle", "an idle connection", CONNECTIONS, IDLE, "idle /echo"),
    ("idle-topic", "an idle connection on one topic", CONNECTIONS, IDLE, "idle /fan"),
    ("idle-deflate", "an idle connection with compression agreed on", CONNECTIONS, IDLE,
     "idle /echo --deflate"),
    ("connect", "server CPU for a connection: accept, handshake, close", CONNECTIONS, CONNECT,
     "connect /echo"),
    ("tls-echo-1", "a message of 20 B, 32 connections, 1 in flight", TLS, CPU, echo(20, 32, 1), True),
    ("tls-echo-16", "a message of 20 B, 32 connections, 16 in flight", TLS, CPU, echo(20, 32, 16), True),
    ("tls-fan-16", "a delivery of 20 B, 1,000 subscribers, 16 outstanding", TLS, CPU, fan(20, 16), True),
    ("tls-idle", "an idle connection", TLS, IDLE, "idle /echo", True),
    ("tls-handshake", "a connection: accept, full handshake, WebSocket, close", TLS, CONNECT,
     "connect /echo", True),
    ("tls-resumed", "the same, with a session that is resumed", TLS, CONNECT, "connect /echo --resume", True),
    ("syscalls-1", "system calls, 1 in flight", COSTS, SYSCALLS, echo(20, 32, 1)),
    ("syscalls-16", "system calls, 16 in flight", COSTS, SYSCALLS, echo(20, 32, 16)),
    ("instructions-1", "user instructions, 1 in flight", COSTS, INSTRUCTIONS, echo(20, 32, 1)),
    ("instructions-16", "user instructions, 16 in flight", COSTS, INSTRUCTIONS, echo(20, 32, 16)),
]]


class Server(NamedTuple):
    name: str
    title: str
    # It compresses, if the client asks for it.
    deflate: bool = True
    # It is compiled before it runs, so that its instructions can be counted.
    native: bool = True
    # One of benches/peers, and not a program of this package.
    peer: bool = True
    # It speaks TLS, if there are CERTIFICATES in its environment.
    tls: bool = False

    def takes_part_in(self, row):
        return ((self.deflate or not row.deflate) and (self.native or row.kind is not INSTRUCTIONS)
                and (self.tls or not row.tls))


# The limit, and what pushloop is compared with, in this order.
SERVERS = [
    Server("raw", "limit", deflate=False, peer=False),
    Server("subject", "pushloop", peer=False, tls=True),
    Server("uwebsockets", "uWebSockets", tls=True),
    Server("bun", "Bun", native=False, tls=True),
    Server("fastwebsockets", "fastwebsockets", deflate=False),
    Server("sockudo", "sockudo-ws", deflate=False),
    Server("tungstenite", "tokio-tungstenite", deflate=False, tls=True),
    Server("ws", "npm ws", native=False, tls=True),
]
