"""The peer (peer.rs) against clients of many kinds, by one table of checks.

Usage: python3 foreign.py CLIENT SERVER [ARGUMENT]...
    CLIENT is the command, in one word, of a program in foreign/ that lends its library to the checks: lines come to
    its standard input and go from its standard output. Payloads and reasons are in hexadecimal digits.

    to the client                                from the client
                                                 client NAME VERSION [TRAIT]...   first of all
    open URL [SUBPROTOCOL,SUBPROTOCOL...]        open SUBPROTOCOL|- EXTENSIONS|-, or failed WHY
    text HEX, binary HEX                         text HEX, binary HEX
    fragments HEX HEX...  one text message
    ping HEX                                     pong HEX
    close CODE HEX                               closed CODE HEX

    A trait is `deflate` (it offers compression), `ping` and `fragments` (it can send them), `never-empty` (it cannot
    send an empty message), or `strict` (it gives up on a server that speaks none of its subprotocols).

The rest is the command that starts the peer, which prints its ws:// address. Each check is made twice: with a peer
whose compressed messages stand for themselves, and with one that refers back to earlier ones.

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import os
import queue
import re
import shlex
import subprocess
import sys
import threading

PATIENCE = 30  # seconds, for one event
MIB = 1 << 20


class Client:
    """A client's program: what is told to it, and what it tells."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.events = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()
        _, self.name, self.version, *self.traits = self.expect("client")

    def listen(self):
        for line in self.process.stdout:
            self.events.put(line.rstrip("\n").split(" "))
        self.events.put(["ended"])

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def expect(self, kind):
        try:
            event = self.events.get(timeout=PATIENCE)
        except queue.Empty:
            event = ["nothing"]
        if event[0] != kind:
            raise AssertionError(f"{' '.join(event)[:200]!r} came, and not {kind!r}")
        return event

    def open(self, url, *subprotocols):
        self.tell("open", url, *subprotocols)
        _, subprotocol, extensions = self.expect("open")
        assert extensions.startswith("permessage-deflate") == ("deflate" in self.traits), extensions
        self.alone = "server_no_context_takeover" in extensions
        return subprotocol

    def send(self, message):
        kind = "text" if isinstance(message, str) else "binary"
        self.tell(kind, payload(message).hex())

    def receive(self, message):
        """Expects this message. (Not to be shown: a mebibyte twice is not an explanation.)"""
        kind = "text" if isinstance(message, str) else "binary"
        came = self.expect(kind)[1]
        assert came == payload(message).hex(), f"{len(came) // 2} bytes that are not those expected"

    def echoes(self, message):
        self.send(message)
        self.receive(message)

    def ask(self, question):
        self.send(question)
        return bytes.fromhex(self.expect("text")[1]).decode()

    def close(self, code=1000, reason=""):
        self.tell("close", code, reason.encode().hex())
        closed = self.expect("closed")
        assert closed[1] == str(code), f"closed with {closed[1]}"

    def end(self):
        self.process.kill()
        self.process.wait()


def payload(message):
    return message.encode() if isinstance(message, str) else message


def opened(attempt):
    """A check on a connection that opens before it and closes after it."""

    def check(client, url):
        client.open(url)
        attempt(client)
        client.close()

    return check


def echo(*messages):
    def attempt(client):
        for message in messages:
            if message or "never-empty" not in client.traits:
                client.echoes(message)

    return opened(attempt)


@opened
def fragments(client):
    parts = ["one " * 1000, "", "message"]
    client.tell("fragments", *(part.encode().hex() for part in parts))
    client.receive("".join(parts))


@opened
def ping(client):
    for data in (b"", b"\xff" * 125):
        client.tell("ping", data.hex())
        assert client.expect("pong")[1] == data.hex(), "not its payload"


@opened
def pipelined(client):
    messages = [f"message {number}" for number in range(200)]
    for message in messages:
        client.send(message)
    for message in messages:
        client.receive(message)


def costs(takeover):
    """Random digits, base 16, shrink to half; only a reference to the first time makes less of them."""

    @opened
    def check(client):
        digits = os.urandom(1024).hex()
        client.echoes(digits)
        before = int(client.ask("traffic").split()[1])
        client.echoes(digits)
        # With it, the answer to the first question.
        cost = int(client.ask("traffic").split()[1]) - before
        least = 2048 if "deflate" not in client.traits else 0 if takeover and not client.alone else 1024
        assert least < cost < least + 512, f"{cost} bytes"

    return check


def close_by_client(code, reason):
    def check(client, url):
        client.open(url)
        client.close(code, reason)
        client.open(url)
        seen = client.ask("last close")
        assert seen == f"{code} {reason}", seen
        client.close()

    return check


def close_by_server(client, url):
    client.open(url)
    client.send("close 4001 bye")
    assert client.expect("closed")[1:] == ["4001", b"bye".hex()], "another code or reason"
    client.open(url)
    seen = client.ask("last close")
    assert seen.startswith("4001 "), seen
    client.close()


def subprotocol_chosen(client, url):
    assert client.open(url, "chat.v1,chat.v2") == "chat.v2"
    client.close()


def subprotocol_refused(client, url):
    if "strict" in client.traits:
        client.tell("open", url, "chat.v1")
        client.expect("failed")
    else:
        assert client.open(url, "chat.v1") == "-"
        client.close()


def checks(traits, takeover):
    row = os.urandom(1024).hex()
    table = {
        "text": echo("κόσμε 🦀"),
        "binary": echo(bytes(range(256))),
        **{f"length-{size}": echo("x" * size, b"\xa5" * size) for size in (0, 125, 126, 65_535, 65_536, MIB)},
        # What a compressor refers back to, and what it does not compress.
        "in-a-row": echo(row, row, "short", "", row[::-1], row.encode() * 30, os.urandom(65_536), row, "short", row),
        "pipelined": pipelined,
        "server-pings": echo("pings"),
        "costs": costs(takeover),
        "close-by-client-1000": close_by_client(1000, "done"),
        "close-by-client-4001": close_by_client(4001, "κόσμε"),
        "close-by-server": close_by_server,
        "subprotocol-chosen": subprotocol_chosen,
        "subprotocol-refused": subprotocol_refused,
    }
    able = {"fragments": fragments, "ping": ping}
    return {**table, **{name: check for name, check in able.items() if name in traits}}


def run(command, url, mode):
    """All checks with one peer. A client that failed one is begun anew."""
    client = Client(command)
    failed = False
    print(f"# {client.name} {client.version}: {' '.join(client.traits)}", flush=True)
    for name, check in checks(client.traits, bool(mode)).items():
        name = "-".join([client.name, *mode, name])
        try:
            check(client, url)
            print(f"ok {name}", flush=True)
        except Exception as problem:  # whatever it is, the other checks still run
            failed = True
            print(f"FAIL {name}: {problem}", flush=True)
            client.end()
            client = Client(command)
    client.end()
    return failed


def main():
    command, *server = sys.argv[1:]
    failed = False
    for mode in ([], ["takeover"]):
        with subprocess.Popen([*server, *mode], stdout=subprocess.PIPE, text=True) as peer:
            try:
                failed |= run(command, re.search(r"ws://[\w.:\[\]]+", peer.stdout.readline()).group(), mode)
            finally:
                peer.kill()
    return failed


if __name__ == "__main__":
    sys.exit(main())
