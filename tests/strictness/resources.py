"""What one peer can take: memory of the server's process, by its own /proc entry."""

import time

from rows import row
from wire import BINARY, CONTINUATION, FIN, PING, TEXT, frame

KIB_MAX = 64 * 1024
SENT_MAX = 512 << 20
STALLED = 2.0


def flood(target, data):
    """Sends `data` over and over and reads nothing, until 512 MiB are sent, or the server ends the
    connection, or reads nothing more either, or its process has grown beyond doubt. Says by how
    much it grew."""
    before = target.memory()
    most, sent, how = before, 0, f"took {SENT_MAX >> 20} MiB"
    # Small, so that what the server cannot send stays with it.
    with target.connect(receive_buffer=4096) as connection:
        connection.open()
        connection.socket.setblocking(False)
        last = time.monotonic()
        rest = memoryview(data)
        while sent < SENT_MAX:
            try:
                taken = connection.socket.send(rest)
            except BlockingIOError:
                if time.monotonic() - last > STALLED:
                    how = "stops reading"
                    break
                time.sleep(0.001)
                continue
            except OSError:
                how = "ends the connection"
                break
            last = time.monotonic()
            sent += taken
            rest = rest[taken:] or memoryview(data)
            if sent % (1 << 20) < taken:
                most = max(most, target.memory())
                if most - before > 2 * KIB_MAX:
                    how = f"took {sent >> 20} MiB"
                    break
        most = max(most, target.memory())
    grown = (most - before) >> 10
    return most - before < KIB_MAX, f"{how}, {grown} MiB more memory"


@row("memory-messages", "memory is bounded for a peer that sends messages and never reads the echoes")
def memory_messages(target):
    message = frame(FIN | BINARY, bytes(8192))
    right, observed = flood(target, message * 16)
    yield "8 KiB", right, observed


@row("memory-pings", "memory is bounded for a peer that sends Pings and never reads the Pongs")
def memory_pings(target):
    right, observed = flood(target, frame(FIN | PING, bytes(125)) * 512)
    yield "125 bytes", right, observed


@row("memory-lengths", "what a header announces is not allocated: 500 connections, a byte of each message")
def memory_lengths(target):
    before = target.memory()
    connections = []
    try:
        for _ in range(500):
            connection = target.websocket()
            connections.append(connection)
            connection.send(frame(FIN | BINARY, b"x", length=16_000))
        # An answer to a Ping on another connection says that the loop has been there.
        with target.websocket() as last:
            last.send(frame(FIN | PING))
            last.next_frame()
        grown = target.memory() - before
    finally:
        for connection in connections:
            connection.socket.close()
    yield "16,000 bytes", grown < 8 * 1024, f"{grown * 1024 // 500} bytes each"


@row("fragment-count", "a message in endless empty fragments is refused within a million")
def fragment_count(target):
    with target.websocket() as connection:
        many = frame(CONTINUATION) * 10_000
        connection.send(frame(TEXT))
        for _ in range(100):
            if not connection.send(many):
                break
        outcome = connection.outcome(patience=5)
    if outcome.kind == "closed":
        target.violations.append(("fragments", {1008, 1009}, outcome))
    yield "fragments", outcome.failed, str(outcome)
