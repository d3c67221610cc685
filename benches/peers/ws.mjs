// An echo server of npm ws with its defaults, and compression, which is off by default.
//
//     node ws.mjs 127.0.0.1:9001

import { WebSocketServer } from "ws";

const [host, port] = (process.argv[2] ?? "127.0.0.1:0").split(":");
const server = new WebSocketServer({ host, port: Number(port), perMessageDeflate: true });
server.on("connection", (socket) => {
    // An error is one connection's own.
    socket.on("error", () => {});
    socket.on("message", (data, binary) => socket.send(data, { binary }));
});
server.on("listening", () => {
    const { address, port } = server.address();
    console.log(`listening on ${address}:${port}`);
});
