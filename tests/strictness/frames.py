"""Frames and messages: RFC 6455 §5 and §8.1."""

from rows import row
from wire import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT, frame, text

PROTOCOL, INVALID, TOO_BIG = {1002}, {1007}, {1009}
CONTROL = {"ping": PING, "pong": PONG, "close": CLOSE}
OFFER = ["Sec-WebSocket-Extensions: permessage-deflate"]


@row("mask", "a frame without a mask is refused (5.1)")
def mask(target):
    yield target.fails("text", frame(FIN | TEXT, b"hello", masked=False), PROTOCOL)
    yield target.fails("ping", frame(FIN | PING, b"hello", masked=False), PROTOCOL)
    yield target.fails("empty", frame(FIN | TEXT, masked=False), PROTOCOL)


@row("length-minimal", "a length in more bytes than it needs is refused (5.2)")
def length_minimal(target):
    for length, form in [(5, 2), (125, 2), (5, 8), (126, 8), (65_535, 8)]:
        data = frame(FIN | BINARY, b"x" * length, form=form)
        yield target.fails(f"{length} in {form} bytes", data, PROTOCOL)


@row("length-msb", "a 64-bit length with its first bit set is refused (5.2)")
def length_msb(target):
    for length in [1 << 63, (1 << 63) + 5, (1 << 64) - 1]:
        data = frame(FIN | BINARY, b"hello", length=length)
        # It is a wrong length, and one that is too long.
        yield target.fails(hex(length), data, PROTOCOL | TOO_BIG)


@row("length-limit", "a length beyond the limit is refused on sight, before any payload came")
def length_limit(target):
    for length in [1 << 30, (1 << 63) - 1]:
        yield target.fails(hex(length), frame(FIN | BINARY, length=length), TOO_BIG)


@row("rsv", "reserved bits that no extension explains are refused (5.2)")
def rsv(target):
    for name, bits in {"RSV1": RSV1, "RSV2": RSV2, "RSV3": RSV3, "all": 0x70}.items():
        yield target.fails(name, frame(FIN | TEXT | bits, b"hello"), PROTOCOL)


@row("rsv1-continuation", "RSV1 on a continuation is refused, with compression agreed on too (7692 §6.1)")
def rsv1_continuation(target):
    for name, extra in {"without compression": [], "with compression": OFFER}.items():
        data = frame(TEXT, b"a") + frame(FIN | RSV1 | CONTINUATION, b"b")
        yield target.fails(name, data, PROTOCOL, extra=extra)


@row("rsv1-control", "RSV1 on a control frame is refused, with compression agreed on too (7692 §6.1)")
def rsv1_control(target):
    for name, extra in {"without compression": [], "with compression": OFFER}.items():
        for control, opcode in CONTROL.items():
            data = frame(FIN | RSV1 | opcode)
            closes = opcode == CLOSE
            yield target.fails(f"{control}, {name}", data, PROTOCOL, closes, extra=extra)


@row("opcodes", "reserved opcodes are refused (5.2)")
def opcodes(target):
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]:
        yield target.fails(f"opcode {opcode:x}", frame(FIN | opcode, b"hello"), PROTOCOL)


@row("control-fragmented", "a control frame in fragments is refused (5.5)")
def control_fragmented(target):
    for name, opcode in CONTROL.items():
        yield target.fails(name, frame(opcode), PROTOCOL, opcode == CLOSE)


@row("control-126", "a control frame of more than 125 bytes is refused (5.5)")
def control_126(target):
    for name, opcode in CONTROL.items():
        data = frame(FIN | opcode, b"\x03\xe8" + b"x" * 124)
        yield target.fails(name, data, PROTOCOL, opcode == CLOSE)


@row("fragments", "a continuation of nothing, or a new message within a message, is refused (5.4)")
def fragments(target):
    yield target.fails("of nothing", frame(FIN | CONTINUATION, b"x"), PROTOCOL)
    yield target.fails("of nothing, more to come", frame(CONTINUATION, b"x"), PROTOCOL)
    yield target.fails("text in text", frame(TEXT, b"x") + text(b"y"), PROTOCOL)
    yield target.fails("binary in text", frame(TEXT, b"x") + frame(BINARY, b"y"), PROTOCOL)
    with target.websocket() as connection:
        connection.send(frame(TEXT) + frame(FIN | CONTINUATION))
        echoed = connection.next_frame()
        connection.send(frame(FIN | CONTINUATION))
        outcome = connection.outcome()
        right = echoed == (FIN | TEXT, b"") and outcome.failed
        yield "after an empty message", right, str(outcome) if echoed else "no echo"


@row("utf8", "text that is not UTF-8 is refused (8.1)")
def utf8(target):
    bad = [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xce\xba\xe1\xbd", b"\x80"]
    for payload in bad:
        yield target.fails(payload.hex(), text(payload), INVALID)


@row("utf8-fragment", "text that is not UTF-8 is refused at the fragment that made it so, not at the message's end")
def utf8_fragment(target):
    for payload in [b"ok \xff", b"\xf4\x90", b"\xed\xa0"]:
        yield target.fails(payload.hex(), frame(TEXT, payload), INVALID)
    split = frame(TEXT, b"\xf4") + frame(CONTINUATION, b"\x90")
    yield target.fails("f4|90", split, INVALID)


@row("utf8-byte", "text that is not UTF-8 is refused at its first impossible byte, in a frame that is not complete")
def utf8_byte(target):
    for payload in [b"ok \xff", b"\xf4\x90", b"\xed\xa0", b"\xc1"]:
        yield target.fails(payload.hex(), frame(FIN | TEXT, payload, length=100), INVALID)


@row("before-failure", "what was complete before the violation is answered first")
def before_failure(target):
    with target.websocket() as connection:
        connection.send(text(b"one") + text(b"two") + frame(FIN | 3))
        frames = connection.frames_until_end()
        texts = [each for each in frames if each in [(FIN | TEXT, b"one"), (FIN | TEXT, b"two")]]
        yield "two texts", len(texts) == 2, f"{len(texts)} of 2"


@row("in-pieces", "a message in pieces of one byte, and in fragments of one byte, is understood")
def in_pieces(target):
    message = "κόσμε 𝄞".encode()
    with target.websocket() as connection:
        for byte in text(message):
            connection.send(bytes([byte]))
        yield receives(connection, "pieces", FIN | TEXT, message)
    with target.websocket() as connection:
        for at, byte in enumerate(message):
            connection.send(frame(CONTINUATION if at else TEXT, bytes([byte])))
        connection.send(frame(FIN | CONTINUATION))
        yield receives(connection, "fragments", FIN | TEXT, message)


@row("ping", "a Ping is answered with its own payload, between two fragments too (5.5.2)")
def ping(target):
    with target.websocket() as connection:
        for length in [0, 1, 125]:
            payload = bytes(range(length))
            connection.send(frame(FIN | PING, payload))
            yield receives(connection, f"{length} bytes", FIN | PONG, payload)
        connection.send(frame(TEXT, b"a") + frame(FIN | PING, b"between"))
        yield receives(connection, "between", FIN | PONG, b"between")
        connection.send(frame(FIN | PONG, b"unasked") + frame(FIN | CONTINUATION, b"b"))
        yield receives(connection, "and the message", FIN | TEXT, b"ab")


def receives(connection, variant, first, payload):
    received = connection.next_frame()
    right = received == (first, payload)
    return variant, right, "answered" if right else "another frame" if received else "no answer"
