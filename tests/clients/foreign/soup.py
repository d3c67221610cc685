"""libsoup, by GObject introspection, for foreign.py. It sends each message in one frame, and no Pings but its own."""

import threading

import gi

gi.require_version("Soup", "3.0")
from adapter import say, serve  # noqa: E402
from gi.repository import GLib, Soup  # noqa: E402


class Client:
    def __init__(self):
        self.session = Soup.Session()
        self.session.add_feature_by_type(Soup.WebsocketExtensionManager)
        threading.Thread(target=GLib.MainLoop().run, daemon=True).start()

    def open(self, url, subprotocols):
        message = Soup.Message.new("GET", url)
        # Without any it still sends the field, empty.
        on_loop(self.session.websocket_connect_async, message, None, subprotocols, 0, None, self.opened, message)

    def opened(self, session, result, message):
        try:
            self.client = session.websocket_connect_finish(result)
        except GLib.Error as refused:
            return say("failed", refused)
        self.client.set_max_incoming_payload_size(1 << 20)
        self.client.connect("message", self.receive)
        self.client.connect("closed", self.closed)
        extensions = message.get_response_headers().get_one("Sec-WebSocket-Extensions") or "-"
        say("open", self.client.get_protocol() or "-", extensions.replace(" ", ""))

    def receive(self, _, kind, payload):
        say("text" if kind == Soup.WebsocketDataType.TEXT else "binary", payload.get_data().hex())

    def closed(self, client):
        say("closed", client.get_close_code() or 1006, (client.get_close_data() or "").encode().hex())

    def text(self, payload):
        on_loop(self.client.send_message, Soup.WebsocketDataType.TEXT, GLib.Bytes(payload))

    def binary(self, payload):
        on_loop(self.client.send_message, Soup.WebsocketDataType.BINARY, GLib.Bytes(payload))

    def close(self, code, reason):
        on_loop(self.client.close, code, reason)


def on_loop(call, *arguments):
    # What an idle source returns says whether it is called again.
    GLib.idle_add(lambda: call(*arguments) and False)


version = (Soup.get_major_version(), Soup.get_minor_version(), Soup.get_micro_version())
say("client", "libsoup", ".".join(map(str, version)), "deflate")
serve(Client())
