"""Pusher's SDK of PyPI, `pusher`, against the server to run, with `websockets` as the client.

Usage: python pusher_backend.py SERVER    the server's program

Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.
"""

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pusher
from websockets.asyncio.client import connect

PATIENCE = 30  # seconds, for one check
SECRET = "the secret of the first"


class Client:
    """What pusher-js does, as far as the checks need it."""

    def __init__(self, socket, backend):
        self.socket = socket
        self.backend = backend

    async def hears(self):
        event = json.loads(await self.socket.recv())
        if isinstance(event.get("data"), str):
            try:
                event["data"] = json.loads(event["data"])
            except ValueError:
                pass
        return event

    async def says(self, event, **data):
        await self.socket.send(json.dumps({"event": event, "data": data}))

    async def joins(self, channel, member=None):
        signed = {"auth": ""}
        if channel.startswith(("private-", "presence-")):
            signed = self.backend.authenticate(channel, self.socket_id, member)
        await self.says("pusher:subscribe", channel=channel, **{k: v for k, v in signed.items() if v})
        event = await self.hears()
        assert event["event"] == "pusher_internal:subscription_succeeded", event
        return event["data"]


@asynccontextmanager
async def client(port, backend):
    async with connect(f"ws://127.0.0.1:{port}/app/key-1?protocol=7", proxy=None) as socket:
        it = Client(socket, backend)
        it.socket_id = (await it.hears())["data"]["socket_id"]
        yield it


async def triggers(port, backend):
    async with client(port, backend) as ada, client(port, backend) as ben:
        await ada.joins("private-a")
        await ben.joins("private-a")
        assert backend.trigger(["private-a", "b"], "goal", {"home": 1}, ada.socket_id) == {}
        batch = [{"channel": "private-a", "name": "goal", "data": {"home": home}} for home in (2, 3)]
        assert backend.trigger_batch(batch) == {}
        assert [(await ada.hears())["data"]["home"] for _ in range(2)] == [2, 3]
        assert [(await ben.hears())["data"]["home"] for _ in range(3)] == [1, 2, 3]


async def asks(port, backend):
    member = {"user_id": "ada", "user_info": {"name": "Ada"}}
    async with client(port, backend) as ada:
        data = await ada.joins("presence-a", member)
        assert data["presence"] == {"count": 1, "ids": ["ada"], "hash": {"ada": {"name": "Ada"}}}, data
        listed = backend.channels_info("presence-", ["user_count"])
        assert listed == {"channels": {"presence-a": {"user_count": 1}}}, listed
        told = backend.channel_info("presence-a", ["user_count", "subscription_count"])
        assert told == {"occupied": True, "user_count": 1, "subscription_count": 1}, told
        assert backend.users_info("presence-a") == {"users": [{"id": "ada"}]}


async def signs_in(port, backend):
    # Not terminate_user_connections: it leaves the application out of the path.
    async with client(port, backend) as ada:
        signed = backend.authenticate_user(ada.socket_id, {"id": "ada"})
        await ada.says("pusher:signin", **signed)
        assert (await ada.hears())["event"] == "pusher:signin_success"
        await ada.joins("#server-to-user-ada")
        backend.send_to_user("ada", "note", {"n": 1})
        event = await ada.hears()
        assert (event["event"], event["data"]) == ("note", {"n": 1}), event


class Webhooks(BaseHTTPRequestHandler):
    """The backend's address for webhooks: what the SDK takes for the application's."""

    told = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        key, signature = self.headers["X-Pusher-Key"], self.headers["X-Pusher-Signature"]
        is_forged = of(1, secret="the secret of nobody at all").validate_webhook(key, signature, body)
        webhook = of(1).validate_webhook(key, signature, body)
        self.told.extend(webhook["events"] if webhook and not is_forged else ["invalid"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


async def is_told(port, backend):
    async with client(port, backend) as ada:
        await ada.joins("presence-told", {"user_id": "ada"})
        expected = [{"name": "channel_occupied"}, {"name": "member_added", "user_id": "ada"}]
        expected = [{"channel": "presence-told", **event} for event in expected]
        while len(told := [it for it in Webhooks.told if it == "invalid" or it["channel"] == "presence-told"]) < 2:
            await asyncio.sleep(0.02)
        assert told == expected, told


async def is_refused(port, _backend):
    forger = of(port, secret="the secret of nobody at all")
    try:
        forger.trigger("a", "goal", {})
    except pusher.errors.PusherBadAuth:
        return
    raise AssertionError("it was taken")


def of(port, secret=SECRET):
    return pusher.Pusher(app_id="1", key="key-1", secret=secret, host="127.0.0.1", port=port, ssl=False)


async def main(program):
    failed = False
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(SECRET)
        file.flush()
        webhooks = ThreadingHTTPServer(("127.0.0.1", 0), Webhooks)
        threading.Thread(target=webhooks.serve_forever, daemon=True).start()
        command = [program, "--listen", "127.0.0.1:0", "--pusher-app", f"1:key-1:{file.name}"]
        command += ["--pusher-webhook", f"1:http://127.0.0.1:{webhooks.server_port}/"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            port = int(re.search(r"http://127\.0\.0\.1:(\d+)", server.stdout.readline())[1])
            checks = {
                "triggers events": triggers,
                "asks about channels": asks,
                "signs users in": signs_in,
                "takes webhooks": is_told,
                "needs its secret": is_refused,
            }
            for name, run in checks.items():
                try:
                    await asyncio.wait_for(run(port, of(port)), PATIENCE)
                    print(f"ok {name}")
                except Exception as error:  # whatever it is, it is told
                    failed = True
                    print(f"FAIL {name}: {type(error).__name__} {error}")
            server.terminate()
    sys.exit(failed)


asyncio.run(main(sys.argv[1]))
