"""A flood of connections from one address, beside a hundred clients of other addresses, which lose nothing.

Usage: python floods.py SERVER
    SERVER is the pushloop binary. Root: it has a network namespace, in which a hundred thousand addresses are its own.

The server has limits for each client. One address connects as fast as it can, from before the hundred come until all that
was published has come to each of them: directly, through nginx, and through HAProxy with the PROXY protocol; as itself, and
as one that claims to be the others. It gets as many connections as one client may have, to the connection. Where
it is believed, it gets more: a check that cannot fail proves nothing.

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import asyncio
import os
import sys

import run
import websockets.asyncio.client as websocket
from prometheus_client.parser import text_string_to_metric_families

# RFC 2544 has set them aside: none is of loopback, which has no limits.
NETWORK = "198.18.0.0/15"
FLOODER = "198.19.0.1"
CLIENTS = [f"198.18.0.{number}" for number in range(1, 101)]
PUBLICATIONS = 100
LIMIT = 10
LIMITED = ["--client-connections-max", str(LIMIT)]
# At least so many attempts, from so many places at once. nginx has 512 connections in all.
ATTEMPTS = 500
LANES = 20
UPGRADE = (
    "GET /news HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{claims}\r\n"
)


class Flood:
    """Whoever floods keeps what it gets."""

    def __init__(self, world, port, forges):
        self.world, self.port, self.forges = world, port, forges
        self.attempts = 0
        self.kept, self.refused = [], []
        self.may_end = asyncio.Event()

    def claims(self):
        """That it is one of the others, in every way that a client has."""
        if not self.forges:
            return ""
        other = CLIENTS[self.attempts % len(CLIENTS)]
        return f"X-Forwarded-For: {other}\r\nX-Real-IP: {other}\r\nForwarded: for={other}\r\n"

    async def attempt(self):
        request = UPGRADE.format(host=self.world.address, claims=self.claims())
        self.attempts += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(FLOODER, 0))
        try:
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            head = b""  # It was dropped unread.
        status = int(head.split(b" ")[1]) if head else None
        if status == 101:
            self.kept.append(writer)
        else:
            self.refused.append(status)
            writer.close()

    async def lane(self):
        while not self.may_end.is_set() or self.attempts < ATTEMPTS:
            await self.attempt()


async def hears(world, port, address, heard, is_open):
    where = {"host": "127.0.0.1", "port": port, "local_addr": (address, 0)}
    async with websocket.connect(
        f"ws://{world.address}/news", proxy=None, compression=None, open_timeout=run.PATIENCE, **where
    ) as client:
        is_open.release()
        while len(heard) < PUBLICATIONS:
            heard.append(await client.recv())


async def count(world, name):
    status, text = await world.ask("GET", "/metrics", port=world.server_port)
    assert status == 200, status
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return families[f"pushloop_{name}"].samples[0].value


def floods(is_direct, forges, refusal):
    """A refused attempt is answered with this status, or with nothing."""

    async def check(world):
        port = world.server_port if is_direct else world.port
        flood = Flood(world, port, forges)
        heard = [[] for _ in CLIENTS]
        opened = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(LANES):
                tasks.create_task(flood.lane())
            while len(flood.kept) < LIMIT or len(flood.refused) < LANES:
                await asyncio.sleep(0.01)
            for address, messages in zip(CLIENTS, heard):
                tasks.create_task(hears(world, port, address, messages, opened))
            for _ in CLIENTS:
                await opened.acquire()
            before = flood.attempts
            for number in range(PUBLICATIONS):
                answer = await world.ask("POST", "/news", str(number).encode(), world.server_port)
                everyone = len(CLIENTS) + LIMIT
                assert answer == (200, f'{{"delivered":{everyone}}}\n'), answer
            assert flood.attempts > before, "nothing was attempted meanwhile"
            flood.may_end.set()
        expected = [str(number) for number in range(PUBLICATIONS)]
        assert all(messages == expected for messages in heard), "something is lost"
        assert len(flood.kept) == LIMIT, f"{len(flood.kept)} of {flood.attempts} got in"
        assert set(flood.refused) == {refusal}, set(flood.refused)
        limited = await count(world, "connections_limited")
        assert limited == len(flood.refused) == flood.attempts - LIMIT, (limited, flood.attempts)
        assert await count(world, "connections_refused") == 0

    return check


async def gets_in_if_it_is_believed(world):
    flood = Flood(world, world.port, True)
    for _ in range(3 * LIMIT):
        await flood.attempt()
    assert (len(flood.kept), flood.refused) == (3 * LIMIT, []), flood.refused


BEHIND = [*run.BEHIND, *LIMITED]
PROXIED = [*run.PROXIED, *LIMITED]
SENDS_PROXY = run.send_proxy("send-proxy-v2")
BELIEVES = {"$proxy_add_x_forwarded_for": "$http_x_forwarded_for"}
CHECKS = {}
for forges, how in ((False, "flood"), (True, "forger")):
    CHECKS |= {
        f"direct-{how}": ("nginx", {}, BEHIND, floods(True, forges, None)),
        f"nginx-{how}": ("nginx", {}, BEHIND, floods(False, forges, 429)),
        f"haproxy-send-proxy-v2-{how}": ("haproxy", SENDS_PROXY, PROXIED, floods(False, forges, 429)),
    }
CHECKS["nginx-believes-the-forger"] = ("nginx", BELIEVES, BEHIND, gets_in_if_it_is_believed)


async def main(server):
    failed = []
    for name, (proxy, edit, options, check) in CHECKS.items():
        failed.append(await run.attempt(name, run.variant(server, None, proxy, edit, options, check), 3 * run.PATIENCE))
    return any(failed)


if __name__ == "__main__":
    if sys.argv[-1] != "inside":
        inside = f"ip link set lo up && ip route add local {NETWORK} dev lo && exec \"$@\" inside"
        os.execvp("unshare", ["unshare", "--net", "sh", "-ec", inside, "sh", sys.executable, *sys.argv])
    sys.exit(asyncio.run(main(sys.argv[1])))
