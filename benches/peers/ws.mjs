// A server of npm ws with its defaults and compression, which is off by default: `/fan` sends to
// all on `/fan`, any other path echoes.
//
//     [CERTIFICATES=FOLDER] node ws.mjs 127.0.0.1:9001

import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { WebSocket, WebSocketServer } from "ws";

const [host, port] = (process.argv[2] ?? "127.0.0.1:0").split(":");
const folder = process.env.CERTIFICATES;
const file = (name) => readFileSync(`${folder}/${name}`);
const place = folder
    ? { server: createServer({ cert: file("chain.pem"), key: file("key.pem") }) }
    : { host, port: Number(port) };
const server = new WebSocketServer({ ...place, perMessageDeflate: true });
const fan = new Set();

function publish(data, binary) {
    for (const socket of fan) {
        if (socket.readyState === WebSocket.OPEN) {
            socket.send(data, { binary });
        }
    }
}

server.on("connection", (socket, request) => {
    // An error is one connection's own.
    socket.on("error", () => {});
    if (request.url === "/fan") {
        fan.add(socket);
        socket.on("close", () => fan.delete(socket));
        socket.on("message", publish);
    } else {
        socket.on("message", (data, binary) => socket.send(data, { binary }));
    }
});
server.on("listening", () => {
    const { address, port } = server.address();
    console.log(`listening on ${address}:${port}`);
});
place.server?.listen(Number(port), host);
