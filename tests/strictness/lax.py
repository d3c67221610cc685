#!/usr/bin/env python3
"""A server that is wrong in every row of the table: what the probe must not let pass.

lax.py HOST:PORT

It accepts whatever looks like a request, and then answers whatever comes with a frame that fits
nothing, and keeps it all.
"""

import socket
import sys
import threading

HOARD = []
ACCEPTED = b"HTTP/1.1 101 Fine\r\nSec-WebSocket-Protocol: unasked\r\n"
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
RESERVED_3, RESERVED_4 = 0x83, 0x84
CLOSE_1000, TEXT_LAX = b"\x88\x02\x03\xe8", b"\x81\x03lax"


def serve(connection):
    HOARD.append(b"x" * 65_536)
    head = connection.recv(1 << 16)
    if len(head) < 100 or b"/pieces" in head:
        return
    fallback = b"x-unknown" in head or head.count(b"permessage-deflate") > 1
    connection.sendall(ACCEPTED + (b"" if fallback else DEFLATE) + b"\r\n")
    first = None
    while data := connection.recv(1 << 16):
        HOARD.append(data * 4)
        # Later reads may begin anywhere, and so with any byte.
        first = first or data[0]
        # The only two failures, so that the rows about how to fail have something to see: one has
        # no Close, and the other one the wrong code.
        if first == RESERVED_3:
            return
        connection.sendall(CLOSE_1000 if first == RESERVED_4 else TEXT_LAX)


def attempt(connection):
    try:
        with connection:
            serve(connection)
    except OSError:
        pass


host, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0").split(":")
with socket.create_server((host, int(port)), backlog=1000) as listener:
    host, port = listener.getsockname()
    print(f"listening on {host}:{port}", flush=True)
    while True:
        threading.Thread(target=attempt, args=[listener.accept()[0]], daemon=True).start()
