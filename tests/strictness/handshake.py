"""The opening handshake: RFC 6455 §4.2, and the HTTP that it is made of (RFC 9112)."""

import time

from rows import row
from wire import KEY, ORIGIN, head


@row("upgrade", "`Upgrade` that is missing or does not list `websocket` is refused (6455 §4.2.1)")
def upgrade(target):
    for value in [None, "h2c", "websockets", "websocket/13"]:
        yield target.refuses(f"{value}", head(upgrade=value))


@row("connection", "`Connection` that is missing or does not list `Upgrade` is refused (6455 §4.2.1)")
def connection(target):
    for value in [None, "keep-alive", "upgrader", "close"]:
        yield target.refuses(f"{value}", head(connection=value))


@row("version", "`Sec-WebSocket-Version` other than one 13 is refused (6455 §4.2.1)")
def version(target):
    for value in [None, "", "8", "12", "14", "013", "13, 8", ["13", "8"]]:
        yield target.refuses(f"{value}", head(version=value))


@row("version-426", "another version is answered with 426 and `Sec-WebSocket-Version: 13` (6455 §4.2.2, §4.4)")
def version_426(target):
    for value in ["8", "14"]:
        response = target.response(head(version=value))
        offered = response.field("sec-websocket-version")
        right = response.status == 426 and "13" in offered.replace(",", " ").split()
        yield value, right, f"{response}, {'version ' + offered if offered else 'no version'}"


@row("key", "`Sec-WebSocket-Key` that does not decode to 16 bytes is refused (6455 §4.2.1)")
def key(target):
    keys = {
        "missing": None,
        "empty": "",
        "15 bytes": "dGhlIHNhbXBsZSBub25j",
        "17 bytes": "dGhlIHNhbXBsZSBub25jZSE=",
        "no base64": "dGhlIHNhbXBsZSBub25jZ!==",
        "no padding": KEY.rstrip("="),
        "two": [KEY, KEY],
    }
    for variant, value in keys.items():
        yield target.refuses(variant, head(key=value))


@row("method", "a method other than GET is refused (6455 §4.2.1)")
def method(target):
    for name in ["POST", "HEAD", "get"]:
        yield target.refuses(name, head(f"{name} / HTTP/1.1"))


@row("http-1.0", "HTTP/1.0 does not upgrade (6455 §4.2.1, 9110 §7.8)")
def http_10(target):
    yield target.refuses("HTTP/1.0", head("GET / HTTP/1.0"))


@row("host", "`Host` that is missing or there twice is refused (6455 §4.2.1, 9112 §3.2)")
def host(target):
    yield target.refuses("missing", head(host=None))
    yield target.refuses("two", head(host=["localhost", "localhost"]))
    yield target.refuses("two different", head(host=["localhost", "elsewhere.example"]))


@row("origin", "a page of another origin is refused by default (6455 §10.2)")
def origin(target):
    yield target.refuses("another", head(extra=[f"Origin: {ORIGIN}"]))
    yield target.refuses("null", head(extra=["Origin: null"]))


@row("lenient", "an empty `Sec-WebSocket-Protocol`, an `Origin` with a slash at its end, an IPv6 `Host` without brackets are taken")
def lenient(target):
    yield target.accepts("empty subprotocol", head(extra=["Sec-WebSocket-Protocol:"]))
    yield target.accepts("origin with a slash", head(extra=["Origin: http://localhost/"]))
    yield target.accepts("IPv6 without brackets", head(host="::1"))
    yield target.accepts("and a port", head(host="::1:9001", extra=["Origin: ws://::1:9001"]))


@row("lenient-no-further", "a list of nothing, an `Origin` with a path, a `Host` that only resembles an address are refused")
def lenient_no_further(target):
    yield target.refuses("list of nothing", head(extra=["Sec-WebSocket-Protocol: ,"]))
    yield target.refuses("origin with two slashes", head(extra=["Origin: http://localhost//"]))
    for value in ["::1:", "::1:x", "1:2:3", "::1.elsewhere.example"]:
        yield target.refuses(value, head(host=value))


@row("header-syntax", "space before a colon, an empty name, NUL or a bare CR is refused (9112 §5)")
def header_syntax(target):
    lines = ["X : y", ": y", "X: a\0b", "X: a\rb", "no colon"]
    for line in lines:
        yield target.refuses(repr(line)[1:-1], head(extra=[line]))


@row("obs-fold", "a folded header line is refused (9112 §5.2, which would also let it be unfolded)")
def obs_fold(target):
    yield target.refuses("folded", head(extra=["X: a", " b"]))


@row("bare-lf", "lines that end in LF alone are refused (9112 §2.2, which would also let them be read)")
def bare_lf(target):
    yield target.refuses("all lines", head().replace(b"\r\n", b"\n"))
    yield target.refuses("one line", head(extra=["X: y\nZ: z"]))


@row("smuggling", "a handshake with a body, however framed, is refused (9112 §6, 9110 §7.8)")
def smuggling(target):
    forms = {
        "length": ["Content-Length: 5"],
        "two lengths": ["Content-Length: 5", "Content-Length: 6"],
        "bad length": ["Content-Length: +5"],
        "chunked": ["Transfer-Encoding: chunked"],
        "both": ["Content-Length: 5", "Transfer-Encoding: chunked"],
        "unknown coding": ["Transfer-Encoding: xchunked"],
    }
    for variant, lines in forms.items():
        # The body is there, so that nobody waits for it.
        yield target.refuses(variant, head(extra=lines) + b"5\r\nhello\r\n0\r\n\r\n")


@row("refused-closes", "after a refused upgrade the connection ends: a proxy might take it for a tunnel")
def refused_closes(target):
    for variant, request in {"version": head(version="8"), "key": head(key="short")}.items():
        with target.connect() as connection:
            connection.send(request + b"GET /again HTTP/1.1\r\nHost: localhost\r\n\r\n")
            first = connection.response()
            # Whatever follows is a body, or the answer to the second request.
            deadline = time.monotonic() + 2
            while connection.receive(deadline):
                pass
            again = b"HTTP/1.1 " in connection.received
            observed = "answers the next request" if again else "ends" if connection.ended else "stays open"
            right = first.status != 101 and connection.ended and not again
            yield variant, right, "101" if first.status == 101 else observed


@row("head-limit", "a head of 1 MiB is refused")
def head_limit(target):
    with target.connect() as connection:
        connection.send(head(extra=["X: " + "y" * (1 << 20)]))
        response = connection.response()
        yield "1 MiB", response.status != 101, str(response)


@row("token-lists", "lists, capitals and tabs in `Connection` and `Upgrade` are understood (9110 §5.6)")
def token_lists(target):
    yield target.accepts("Firefox", head(connection="keep-alive, Upgrade"))
    yield target.accepts("capitals", head(connection="UPGRADE", upgrade="WebSocket"))
    yield target.accepts("empty members and tabs", head(connection=",\tupgrade\t,"))
    yield target.accepts("two lines", head(connection=["keep-alive", "Upgrade"]))
    yield target.accepts("two protocols", head(upgrade="h2c, websocket"))


@row("head-in-pieces", "a head that comes in pieces of one byte is understood")
def head_in_pieces(target):
    with target.connect() as connection:
        for byte in head("GET /pieces HTTP/1.1"):
            connection.send(bytes([byte]))
            # A server that is slower than this gets larger pieces, which are easier.
            time.sleep(0.002)
        response = connection.response()
        yield "1 byte", response.status == 101, str(response)


@row("nothing-unasked", "the answer names no subprotocol or extension that was not offered (6455 §4.2.2)")
def nothing_unasked(target):
    with target.connect() as connection:
        response = connection.open(extra=["Sec-WebSocket-Extensions: x-unknown; a=b"])
        for name in ["extensions", "protocol"]:
            named = response.field(f"sec-websocket-{name}")
            yield name, not named, named or "none"
