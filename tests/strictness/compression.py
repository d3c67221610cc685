"""permessage-deflate: RFC 7692. Each row is `n/a` for a server that has no compression."""

import random
import re
import zlib

from rows import row
from wire import BINARY, CONTINUATION, FIN, RSV1, TEXT, frame

TAIL = b"\x00\x00\xff\xff"


def deflated(data, wbits=-15):
    compressor = zlib.compressobj(wbits=wbits)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def offering(offer):
    return {"extra": [f"Sec-WebSocket-Extensions: {offer}"]}


def declines(target, parameters):
    """An offer that must be declined: the answer is 101, without the extension."""
    answer, status = target.offer(f"permessage-deflate; {parameters}")
    return parameters, answer == "", status if answer is None else "accepted" if answer else "declined"


@row("deflate-unknown", "an offer with an unknown parameter is declined: not accepted, not refused (5.1)")
def deflate_unknown(target):
    target.needs_deflate()
    for parameters in ["unknown", "unknown=1", "client_no_context_takeover; unknown"]:
        yield declines(target, parameters)


@row("deflate-invalid", "an offer with an invalid value is declined (7.1)")
def deflate_invalid(target):
    target.needs_deflate()
    for name in ["server_max_window_bits", "client_max_window_bits"]:
        for value in ["7", "16", "08", "0", "-9", "x", "1000000000000"]:
            yield declines(target, f"{name}={value}")
    yield declines(target, "server_max_window_bits")
    yield declines(target, "server_no_context_takeover=1")
    yield declines(target, "client_no_context_takeover=true")


@row("deflate-duplicate", "an offer with a parameter twice is declined (7.1)")
def deflate_duplicate(target):
    target.needs_deflate()
    for parameter in [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=12",
        "client_max_window_bits",
    ]:
        yield declines(target, f"{parameter}; {parameter}")


@row("deflate-fallback", "the offer after one that is declined is taken, in one line or two (5.1)")
def deflate_fallback(target):
    target.needs_deflate()
    for variant, offers in {
        "one line": ["permessage-deflate; unknown, permessage-deflate"],
        "two lines": ["permessage-deflate; unknown", "permessage-deflate"],
        "after another extension": ["x-unknown; a=b, permessage-deflate"],
    }.items():
        answer, status = target.offer(*offers)
        taken = "permessage-deflate" in (answer or "")
        yield variant, taken, "accepted" if taken else "declined" if answer == "" else status


@row("extension-grammar", "extensions that break the grammar fail the handshake (6455 §9.1)")
def extension_grammar(target):
    target.needs_deflate()
    for value in ["permessage-deflate; =1", "permessage-deflate; a=", "permessage deflate", "a; b=\"c"]:
        answer, status = target.offer(value)
        yield value, answer is None, "accepted" if answer else status


@row("deflate-8", "a window of 8 bits is declined or kept to, never answered with 9 (7.1.2.1)")
def deflate_8(target):
    target.needs_deflate()
    answer, status = target.offer("permessage-deflate; server_max_window_bits=8")
    if answer == "":
        yield "8", True, "declined"
    elif "server_max_window_bits=8" not in (answer or ""):
        yield "8", False, answered_bits(answer) if answer else status
    else:
        yield keeps_window(target, 8)


@row("deflate-window", "a smaller window for what the server sends is declined or kept to (7.1.2.1)")
def deflate_window(target):
    target.needs_deflate()
    for bits in range(9, 15):
        answer, status = target.offer(f"permessage-deflate; server_max_window_bits={bits}")
        if answer == "":
            yield bits, True, "declined"
        else:
            yield keeps_window(target, bits)


def answered_bits(answer):
    given = re.search(r"server_max_window_bits=\"?(\d+)", answer)
    return f"answered with {given[1]}" if given else "accepted without a window"


def keeps_window(target, bits):
    """Whether an echo with repetitions just beyond the window can be read with that window."""
    with target.connect() as connection:
        response = connection.open(**offering(f"permessage-deflate; server_max_window_bits={bits}"))
        answer = response.field("sec-websocket-extensions")
        given = re.search(r"server_max_window_bits=\"?(\d+)", answer)
        if not given or int(given[1]) > bits:
            return bits, False, answered_bits(answer)
        dice = random.Random(bits)
        period = dice.randbytes((1 << bits) + 8)
        message = (period * (12_000 // len(period) + 1))[: max(12_000, len(period) * 2)][:16_000]
        if len(period) * 2 > 16_000:
            message = period[:7_900] + dice.randbytes((1 << bits) + 8 - 7_900) + period[:4_000]
        connection.send(frame(FIN | BINARY, message))
        first, payload = connection.next_frame() or (0, b"")
        if first & 15 != BINARY:
            return bits, False, "no echo"
        if not first & RSV1:
            return bits, payload == message, "sent as it is"
        try:
            read = zlib.decompressobj(wbits=-int(given[1])).decompress(payload + TAIL)
        except zlib.error as error:
            return bits, False, f"{bits}: {error}"
        return bits, read == message, "kept" if read == message else "another message"


@row("deflate-takeover", "`server_no_context_takeover` is answered and kept to (7.1.1.1)")
def deflate_takeover(target):
    target.needs_deflate()
    with target.connect() as connection:
        response = connection.open(**offering("permessage-deflate; server_no_context_takeover"))
        answer = response.field("sec-websocket-extensions")
        right = "server_no_context_takeover" in answer
        yield "answer", right, "answered" if right else "accepted without it" if answer else "declined"
        message = random.Random(1).randbytes(500) * 4
        for turn in ["first", "second"]:
            connection.send(frame(FIN | BINARY, message))
            first, payload = connection.next_frame() or (0, b"")
            alone = whole(first, payload) == message
            yield turn, alone, "read by itself" if alone else "cannot be read by itself"


def whole(first, payload):
    if not first & RSV1:
        return payload
    try:
        return zlib.decompressobj(wbits=-15).decompress(payload + TAIL)
    except zlib.error:
        return None


@row("deflate-read", "compressed messages are read: empty, in fragments, stored, of final blocks (7.2)")
def deflate_read(target):
    target.needs_deflate()
    message = b"hello hello hello hello " * 20
    final = zlib.compressobj(wbits=-15)
    final = final.compress(message) + final.flush(zlib.Z_FINISH) + b"\x00"
    stored = b"\x00\x05\x00\xfa\xffHello\x00"
    once = deflated(message)
    messages = {
        "one frame": (frame(FIN | RSV1 | TEXT, once), message),
        "empty": (frame(FIN | RSV1 | TEXT, b"\x00"), b""),
        "fragments": (frame(RSV1 | TEXT, once[:3]) + frame(FIN | CONTINUATION, once[3:]), message),
        "final block": (frame(FIN | RSV1 | TEXT, final), message),
        "stored block": (frame(FIN | RSV1 | TEXT, stored), b"Hello"),
        "not compressed": (frame(FIN | TEXT, message), message),
    }
    for variant, (data, expected) in messages.items():
        with target.websocket(**offering("permessage-deflate; client_no_context_takeover")) as connection:
            connection.send(data)
            received = connection.next_frame()
            right = received is not None and whole(*received) == expected
            yield variant, right, "echoed" if right else "not echoed"


@row("deflate-broken", "compressed garbage, and text that is not UTF-8 inside, are refused (7.2.2)")
def deflate_broken(target):
    target.needs_deflate()
    for variant, payload in {
        "reserved block": b"\xff\xff\xff",
        "distance too far": b"\x02\x0b\x00\x00",
        "UTF-8": deflated(b"ok \xff"),
    }.items():
        # The RFC gives no code for the first two: 1002 and 1007 are both in use.
        with target.websocket(**offering("permessage-deflate")) as connection:
            connection.send(frame(FIN | RSV1 | TEXT, payload))
            outcome = connection.outcome()
        if outcome.failed:
            codes = {1007} if variant == "UTF-8" else {1002, 1007}
            target.violations.append((variant, codes, outcome))
        yield variant, outcome.failed, str(outcome)


@row("deflate-bomb", "256 MiB that arrive as 256 KiB are refused by what they inflate to (10)")
def deflate_bomb(target):
    target.needs_deflate()
    compressor = zlib.compressobj(9, wbits=-15)
    zeros = bytes(1 << 20)
    bomb = b"".join(compressor.compress(zeros) for _ in range(256))
    bomb = (bomb + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
    with target.websocket(**offering("permessage-deflate")) as connection:
        connection.send(frame(FIN | RSV1 | BINARY, bomb))
        outcome = connection.outcome(patience=10)
    # How much fits differs, and so does who notices: only that it is not taken counts.
    if outcome.failed and outcome.kind == "closed":
        target.violations.append(("bomb", {1009}, outcome))
    yield "256 MiB", outcome.failed, str(outcome)
