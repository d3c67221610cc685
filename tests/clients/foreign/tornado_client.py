"""Tornado, for foreign.py. It sends each message in one frame, and compresses only when told to."""

import asyncio
import threading

import tornado
from adapter import say, serve
from tornado.websocket import WebSocketClientConnection, websocket_connect

WebSocketClientConnection.on_pong = lambda _, payload: say("pong", payload.hex())


class Client:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def run(self, call, *arguments):
        async def calls():
            result = call(*arguments)
            return await result if hasattr(result, "__await__") else result

        return asyncio.run_coroutine_threadsafe(calls(), self.loop).result()

    def open(self, url, subprotocols):
        def connect():
            options = {"subprotocols": subprotocols or None, "compression_options": {}}
            return websocket_connect(url, on_message_callback=self.receive, **options)

        self.client = self.run(connect)
        extensions = self.client.headers.get("Sec-WebSocket-Extensions", "-")
        say("open", self.client.selected_subprotocol or "-", extensions.replace(" ", ""))

    def receive(self, message):
        if message is None:
            code, reason = self.client.close_code or 1006, self.client.close_reason or ""
            say("closed", code, reason.encode().hex())
        elif isinstance(message, str):
            say("text", message.encode().hex())
        else:
            say("binary", message.hex())

    def text(self, payload):
        self.run(self.client.write_message, payload)

    def binary(self, payload):
        self.run(self.client.write_message, payload, True)

    def ping(self, payload):
        self.run(self.client.ping, payload)

    def close(self, code, reason):
        self.run(self.client.close, code, reason)


say("client", "tornado", tornado.version, "deflate", "ping")
serve(Client())
