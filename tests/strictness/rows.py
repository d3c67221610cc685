"""What a row of the table is, and the server that is probed."""

import wire

ROWS = []


class NotApplicable(Exception):
    """The server has not got what the row is about."""


class Row:
    def __init__(self, name, title, probe):
        self.name = name
        self.title = title
        self.probe = probe


def row(name, title):
    """A probe: it yields (variant, whether it is right, what was observed)."""

    def register(probe):
        ROWS.append(Row(name, title, probe))
        return probe

    return register


class Target:
    def __init__(self, address, pid):
        self.address = address
        self.pid = pid
        # (what was wrong, the codes that say so, the outcome), of each violation that was tried.
        self.violations = []

    def connect(self, **options):
        return wire.Connection(self.address, **options)

    def websocket(self, **changes):
        connection = self.connect()
        connection.open(**changes)
        return connection

    def response(self, request):
        with self.connect() as connection:
            connection.send(request)
            return connection.response()

    def refuses(self, variant, request):
        """A handshake that must not be answered with 101."""
        response = self.response(request)
        return variant, response.status != 101, str(response)

    def accepts(self, variant, request):
        response = self.response(request)
        accept = response.field("sec-websocket-accept")
        right = response.status == 101 and accept == wire.accept_of(wire.KEY)
        return variant, right, str(response)

    def fails(self, variant, data, codes, closes=False, **changes):
        """Frames that must end the connection. With which code is a row of its own, but for one
        that `closes`: a broken Close that is answered like a good one was accepted."""
        with self.websocket(**changes) as connection:
            connection.send(data)
            outcome = connection.outcome()
        if closes and outcome.kind == "closed" and outcome.code not in codes:
            outcome = wire.Outcome("accepted")
        if outcome.failed:
            self.violations.append((variant, codes, outcome))
        return variant, outcome.failed, str(outcome)

    def offer(self, *offers):
        """The answer to offers of extensions: None where the handshake is not answered with 101."""
        lines = [f"Sec-WebSocket-Extensions: {offer}" for offer in offers]
        response = self.response(wire.head(extra=lines))
        answer = response.field("sec-websocket-extensions")
        return answer if response.status == 101 else None, str(response)

    def has_deflate(self):
        return "permessage-deflate" in (self.offer("permessage-deflate")[0] or "")

    def needs_deflate(self):
        if not self.has_deflate():
            raise NotApplicable("no compression")

    def memory(self):
        """Resident KiB of the server's process."""
        if self.pid is None:
            raise NotApplicable("no --pid")
        with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
