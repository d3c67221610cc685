"""The probe's own end of a connection: it can send what no client library would."""

import base64
import hashlib
import os
import socket
import time

PATIENCE = 2.0
ORIGIN = "http://elsewhere.example"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10


def frame(first, payload=b"", *, length=None, form=None, masked=True):
    """One frame. `first` is its first byte; `length` what the header says, if not the truth; `form`
    how many bytes say it (0, 2 or 8), if not the fewest."""
    length = len(payload) if length is None else length
    if form is None:
        form = 0 if length < 126 else 2 if length < 1 << 16 else 8
    mask = 0x80 if masked else 0
    head = bytes([first, mask | {0: length if form == 0 else 0, 2: 126, 8: 127}[form]])
    head += length.to_bytes(form, "big") if form else b""
    if not masked:
        return head + payload
    key = os.urandom(4)
    pattern = key * (len(payload) // 4 + 1)
    bits = int.from_bytes(payload, "big") ^ int.from_bytes(pattern[: len(payload)], "big")
    return head + key + bits.to_bytes(len(payload), "big")


def text(payload):
    return frame(FIN | TEXT, payload)


def close(code, reason=b""):
    return frame(FIN | CLOSE, code.to_bytes(2, "big") + reason)


def head(line="GET / HTTP/1.1", extra=(), **changes):
    """An opening handshake; a header in `changes` is left out (None), replaced, or repeated (a
    list). Names are given as host, upgrade, connection, key and version."""
    fields = {
        "host": ("Host", "localhost"),
        "upgrade": ("Upgrade", "websocket"),
        "connection": ("Connection", "Upgrade"),
        "key": ("Sec-WebSocket-Key", KEY),
        "version": ("Sec-WebSocket-Version", "13"),
    }
    lines = [line]
    for name, (field, value) in fields.items():
        value = changes.pop(name, value)
        values = [] if value is None else value if isinstance(value, list) else [value]
        lines += [f"{field}: {value}" for value in values]
    assert not changes, changes
    return "\r\n".join([*lines, *extra, "", ""]).encode("latin-1")


class Response:
    def __init__(self, status, fields):
        self.status = status
        self.fields = fields

    def field(self, name):
        return ", ".join(value for key, value in self.fields if key == name)

    def __str__(self):
        return str(self.status) if self.status else "ended"


class Outcome:
    """What a server did about something that it should refuse."""

    def __init__(self, kind, code=None):
        self.kind = kind
        self.code = code

    @property
    def failed(self):
        return self.kind in ("closed", "ended")

    def __str__(self):
        if self.kind == "closed":
            return "Close without a code" if self.code is None else str(self.code)
        return {"ended": "ended without a Close"}.get(self.kind, self.kind)


class Connection:
    def __init__(self, address, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.ended = False
        self.reset = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Whether the kernel took it: the server may have ended the connection."""
        try:
            self.socket.sendall(data)
            return True
        except OSError as error:
            self.reset |= isinstance(error, (ConnectionError, BrokenPipeError))
            return False

    def receive(self, deadline):
        """Reads once; False when the connection has ended or the deadline is over."""
        left = deadline - time.monotonic()
        if self.ended or left <= 0:
            return False
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            self.ended = self.reset = True
            return False
        self.received += data
        self.ended = not data
        return bool(data)

    def response(self, patience=PATIENCE):
        deadline = time.monotonic() + patience
        while b"\r\n\r\n" not in self.received:
            if not self.receive(deadline):
                return Response(None if self.ended else "no answer", [])
        lines, self.received = self.received.split(b"\r\n\r\n", 1)
        first, *lines = lines.decode("latin-1").split("\r\n")
        fields = [line.split(":", 1) for line in lines if ":" in line]
        fields = [(name.strip().lower(), value.strip()) for name, value in fields]
        return Response(int(first.split()[1]), fields)

    def open(self, **changes):
        """The opening handshake; it has to succeed."""
        self.send(head(**changes))
        response = self.response()
        if response.status != 101:
            raise ConnectionError(f"the handshake is answered with {response}")
        return response

    def next_frame(self, patience=PATIENCE):
        """(first byte, payload) of the next frame, or None: `ended` says which None."""
        deadline = time.monotonic() + patience
        while True:
            if len(self.received) >= 2:
                form = {126: 2, 127: 8}.get(self.received[1], 0)
                start = 2 + form
                length = int.from_bytes(self.received[2:start], "big") if form else self.received[1]
                if len(self.received) >= start + length and len(self.received) >= start:
                    result = self.received[0], self.received[start : start + length]
                    self.received = self.received[start + length :]
                    return result
            if not self.receive(deadline):
                return None

    def frames_until_end(self, patience=PATIENCE):
        frames = []
        while (received := self.next_frame(patience)) is not None:
            frames.append(received)
        return frames

    def outcome(self, patience=PATIENCE):
        """What comes next. Where nothing comes, a Ping finds out whether the server goes on."""
        received = self.next_frame(patience)
        if received is None and not self.ended:
            self.send(frame(FIN | PING, b"still there?"))
            received = self.next_frame(patience)
        if received is None:
            return Outcome("ended" if self.ended else "waits for more")
        first, payload = received
        if first & 15 == CLOSE:
            return Outcome("closed", int.from_bytes(payload[:2], "big") if payload else None)
        return Outcome("accepted")


def accept_of(key):
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
