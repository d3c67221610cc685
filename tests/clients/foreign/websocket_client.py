"""websocket-client from PyPI, for foreign.py. It knows no compression."""

import threading

import websocket
from adapter import say, serve
from websocket import ABNF


class Client:
    def open(self, url, subprotocols):
        try:
            self.client = websocket.create_connection(url, subprotocols=subprotocols or None)
        except websocket.WebSocketException as refused:
            return say("failed", refused)
        say("open", self.client.getsubprotocol() or "-", "-")
        threading.Thread(target=self.receive, args=[self.client], daemon=True).start()

    def receive(self, client):
        names = {ABNF.OPCODE_TEXT: "text", ABNF.OPCODE_BINARY: "binary", ABNF.OPCODE_PONG: "pong"}
        while True:
            opcode, frame = client.recv_data_frame(control_frame=True)
            if opcode in names:
                say(names[opcode], frame.data.hex())
            elif opcode == ABNF.OPCODE_CLOSE:
                return say("closed", int.from_bytes(frame.data[:2], "big"), frame.data[2:].hex())

    def text(self, payload):
        self.client.send(payload)

    def binary(self, payload):
        self.client.send_binary(payload)

    def fragments(self, first, *others):
        frames = [(first, ABNF.OPCODE_TEXT), *((other, ABNF.OPCODE_CONT) for other in others)]
        for number, (payload, opcode) in enumerate(frames, 1):
            self.client.send_frame(ABNF.create_frame(payload, opcode, number == len(frames)))

    def ping(self, payload):
        self.client.ping(payload)

    def close(self, code, reason):
        self.client.send_close(code, reason.encode())


say("client", "websocket-client", websocket.__version__, "fragments", "ping", "strict")
serve(Client())
