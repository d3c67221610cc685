"""Close frames, and how connections end: RFC 6455 §5.5.1 and §7."""

from rows import NotApplicable, row
from wire import CLOSE, FIN, PING, close, frame, text

VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
INVALID = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65_535]


class Answer:
    """What came back for a Close: an outcome like those of frames that should be refused."""

    def __init__(self, connection):
        received = connection.next_frame()
        self.payload = received[1] if received and received[0] & 15 == CLOSE else None
        self.code = int.from_bytes(self.payload[:2], "big") if self.payload else None
        if self.payload is not None:
            self.kind = "closed"
        elif received:
            self.kind = "another frame"
        else:
            self.kind = "ended" if connection.ended else "no answer"
        self.failed = self.kind == "ended" or self.code in (1002, 1007)

    def __str__(self):
        if self.kind == "closed":
            return "empty" if self.code is None else str(self.code)
        return "ended without a Close" if self.kind == "ended" else self.kind


def answer(target, data):
    with target.websocket() as connection:
        connection.send(data)
        return Answer(connection)


def refuses(target, variant, data, codes):
    answered = answer(target, data)
    if answered.failed:
        target.violations.append((variant, codes, answered))
    return variant, answered.failed, str(answered)


@row("close-1-byte", "a Close with a payload of one byte is refused (5.5.1)")
def close_1_byte(target):
    yield refuses(target, "1 byte", frame(FIN | CLOSE, b"\x03"), {1002})


@row("close-codes", "all valid codes are accepted and echoed: 1012 to 1014, 3000 to 4999 too (7.4)")
def close_codes(target):
    for code in VALID:
        answered = answer(target, close(code))
        yield code, answered.code == code, str(answered)


@row("close-codes-invalid", "codes that must not be on the wire are refused (7.4)")
def close_codes_invalid(target):
    for code in INVALID:
        yield refuses(target, f"code {code}", close(code), {1002})


@row("close-reason", "a reason that is not UTF-8 is refused (5.5.1)")
def close_reason(target):
    yield refuses(target, "reason ff", close(1000, b"\xff"), {1007})


@row("close-empty", "a Close without a code is answered with one without or with 1000, not 1005 (7.4.1)")
def close_empty(target):
    answered = answer(target, frame(FIN | CLOSE))
    yield "empty", answered.payload in (b"", (1000).to_bytes(2, "big")), str(answered)


@row("close-once", "what follows a Close is ignored: one Close comes back, no echo and no Pong (5.5.1)")
def close_once(target):
    with target.websocket() as connection:
        connection.send(close(1000) + text(b"late") + frame(FIN | PING) + close(1001))
        received = connection.frames_until_end()
    closes = sum(first & 15 == CLOSE for first, _ in received)
    others = len(received) - closes
    yield "frames", (closes, others) == (1, 0), f"{closes} Close, {others} others"


@row("close-ends", "after the closing handshake the server ends the connection (7.1.1)")
def close_ends(target):
    with target.websocket() as connection:
        connection.send(close(1000))
        connection.frames_until_end()
    yield "1000", connection.ended, "ended" if connection.ended else "stays open"


@row("fin-not-reset", "a failure ends with the Close and a FIN, not a reset, also while 1 MiB is on its way")
def fin_not_reset(target):
    with target.websocket() as connection:
        connection.send(frame(FIN | 3) + text(b"x" * 4096) * 256)
        received = connection.frames_until_end()
    closed = any(first & 15 == CLOSE for first, _ in received)
    ended = connection.ended and not connection.reset
    how = "reset" if connection.reset else "FIN" if ended else "stays open"
    yield "1 MiB", closed and ended, f"{'a' if closed else 'no'} Close, {how}"


# The two rows that look back at what the others saw come last: see probe.py.
def close_frame_on_failure(target):
    failed = [violation for violation in target.violations if violation[2].failed]
    if not failed:
        raise NotApplicable("refuses nothing")
    without = [variant for variant, _, outcome in failed if outcome.kind != "closed"]
    yield "", not without, f"{len(failed) - len(without)} of {len(failed)}"


def close_code_on_failure(target):
    closed = [violation for violation in target.violations if violation[2].kind == "closed"]
    closed = [violation for violation in closed if violation[2].failed]
    if not closed:
        raise NotApplicable("sends no Close")
    wrong = [f"{outcome} for {variant}" for variant, codes, outcome in closed if outcome.code not in codes]
    yield "", not wrong, f"{len(closed) - len(wrong)} of {len(closed)}" + "".join(f", {w}" for w in wrong)


def register_last():
    row("close-on-failure", "each of the failures above was told with a Close frame (7.1.7)")(close_frame_on_failure)
    row("code-on-failure", "the Close frames of those failures had the right code: 1002, 1007, 1008 or 1009 (7.4.1)")(close_code_on_failure)
