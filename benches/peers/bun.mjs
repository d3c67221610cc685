// A server of Bun with its defaults and compression, which is off by default: `/fan` publishes to
// all on `/fan`, any other path echoes.
//
//     [CERTIFICATES=FOLDER] bun bun.mjs 127.0.0.1:9001

const [hostname, port] = (process.argv[2] ?? "127.0.0.1:0").split(":");

const folder = process.env.CERTIFICATES;
const tls = folder && { cert: Bun.file(`${folder}/chain.pem`), key: Bun.file(`${folder}/key.pem`) };

const server = Bun.serve({
    tls,
    hostname,
    port: Number(port),
    fetch(request, server) {
        const fan = new URL(request.url).pathname === "/fan";
        if (!server.upgrade(request, { data: { fan } })) {
            return new Response(null, { status: 400 });
        }
    },
    websocket: {
        perMessageDeflate: true,
        open(socket) {
            if (socket.data.fan) {
                socket.subscribe("fan");
            }
        },
        message(socket, message) {
            if (socket.data.fan) {
                server.publish("fan", message, true);
            } else {
                socket.send(message, true);
            }
        },
    },
});
console.log(`listening on ${server.hostname}:${server.port}`);
