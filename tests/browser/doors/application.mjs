// An application with pages that use all doors of the server: what a backend of it has to do, and the clients' own files.
//
//   node tests/browser/doors/application.mjs SERVER      the server's program
//
// starts both and says where the page with the four doors is. The checks (clients.mjs) have the same one.

import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Backend from "pusher";
import { assert, start } from "../../clients/harness.mjs";
import { relay } from "../relay.mjs";

const APP = "1", APP_KEY = "app-key";
const secrets = {
  app: "the secret of the application",
  tokens: "0123456789abcdef0123456789abcdef",
  publish: "a-key-to-publish-with",
  api: "a-key-of-the-server-api",
};

const HTML = "text/html; charset=utf-8", JS = "text/javascript", JSON_TYPE = "application/json";
/** The clients are the files that npm has for browsers, as they are. */
const files = {
  "/": ["doors/doors.html", HTML],
  "/clients": ["doors/clients.html", HTML],
  "/cases.js": ["doors/cases.js", JS],
  "/page.css": ["../../examples/page/page.css", "text/css"],
  "/page.js": ["../../examples/page/page.js", JS],
  "/icon.svg": ["../../examples/page/icon.svg", "image/svg+xml"],
  "/pusher.js": ["../../node_modules/pusher-js/dist/web/pusher.min.js", JS],
  "/pusher-with-encryption.js": ["../../node_modules/pusher-js/dist/web/pusher-with-encryption.min.js", JS],
  "/echo.js": ["../../node_modules/laravel-echo/dist/echo.iife.js", JS],
  "/centrifuge.js": ["../../node_modules/centrifuge/dist/centrifuge.js", JS],
  "/centrifuge.protobuf.js": ["../../node_modules/centrifuge/dist/centrifuge.protobuf.js", JS],
};

/** A token of this user, good for all that pages do here. */
function token(user) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const covers = ["*", "private-*", "presence-*", "$presence/*"];
  const exp = Math.floor(Date.now() / 1000) + 3600;
  const signed = `${encode({ alg: "HS256" })}.${encode({ sub: user, exp, subscribe: covers, publish: covers })}`;
  return `${signed}.${createHmac("sha256", secrets.tokens).update(signed).digest("base64url")}`;
}

export class Application {
  #sites = [];
  #folder = mkdtempSync(join(tmpdir(), "pushloop-doors-"));

  /** `origin` is let in by the server, and `stranger`, with the same pages, is not. */
  static async start(program) {
    const it = new Application();
    it.program = program;
    [it.origin, it.stranger] = [await it.#site(), await it.#site()];
    await it.#serve("127.0.0.1:0");
    it.between = await relay(Number(new URL(it.url).port));
    it.backend = new Backend({
      appId: APP, key: APP_KEY, secret: secrets.app, host: "127.0.0.1", port: new URL(it.url).port, useTLS: false,
      encryptionMasterKeyBase64: Buffer.alloc(32, 7).toString("base64"),
    });
    return it;
  }

  async #serve(address) {
    const file = (name) => {
      const path = join(this.#folder, name);
      writeFileSync(path, secrets[name]);
      return path;
    };
    const keys = ["--pusher-app", `${APP}:${APP_KEY}:${file("app")}`, "--jwt-secret-file", file("tokens"),
      "--publish-key-file", file("publish"), "--centrifuge-key-file", file("api"), "--anyone-may-subscribe"];
    const { child, url } = await start(this.program, ["--listen", address, "--allow-origin", this.origin, "--centrifuge",
      "--history", "1000", "--presence", "--presence-delay", "1", "--retry", "50", "--drain-spread", "0", ...keys], "http");
    [this.child, this.url] = [child, url];
  }

  async #site() {
    const site = createServer((request, response) => this.#answer(request, response).catch((error) => {
      response.writeHead(500, { "Content-Type": "text/plain" }).end(error.message);
    }));
    await once(site.listen(0, "127.0.0.1"), "listening");
    this.#sites.push(site);
    return `http://127.0.0.1:${site.address().port}`;
  }

  async #answer(request, response) {
    const { pathname, searchParams } = new URL(request.url, this.origin);
    if (request.method === "GET" && files[pathname]) {
      const [path, type] = files[pathname];
      response.setHeader("Content-Type", type);
      // A page of these reaches its own site and the server, and nothing else.
      response.setHeader("Content-Security-Policy", `default-src 'self'; style-src 'self' 'unsafe-inline'; ` +
        `script-src 'self' 'unsafe-inline'; connect-src 'self' http://${this.between.host} ws://${this.between.host}`);
      return response.end(readFileSync(new URL(`../${path}`, import.meta.url)));
    }
    let body = "";
    for await (const chunk of request) body += chunk;
    const action = this.#actions[`${request.method} ${pathname}`];
    const [status, answer] = action ? await action(body, searchParams) : [404, {}];
    response.writeHead(status, { "Content-Type": JSON_TYPE }).end(JSON.stringify(answer));
  }

  /** What pages ask their backend for. `user` is the one that a session would know. */
  #actions = {
    "GET /settings": async () => [200, { host: this.between.host, key: APP_KEY }],
    "GET /token": async (_, asked) => [200, { token: token(asked.get("user")) }],
    "POST /pusher/auth": (body, asked) => this.#authorize(body, asked),
    "POST /broadcasting/auth": (body, asked) => this.#authorize(body, asked),
    "POST /pusher/user-auth": async (body, asked) =>
      [200, this.backend.authenticateUser(new URLSearchParams(body).get("socket_id"), { id: asked.get("user") })],
    "POST /pusher/event": async (body) => {
      const { channel, event, data } = JSON.parse(body);
      return [(await this.backend.trigger(channel, event, data)).status, {}];
    },
    "POST /pusher/user-event": async (body) => {
      const { user, event, data } = JSON.parse(body);
      return [(await this.backend.sendToUser(user, event, data)).status, {}];
    },
    "POST /centrifuge/api": async (body, asked) => [200, await this.centrifugeApi(asked.get("method"), JSON.parse(body))],
    "POST /publish": async (body, asked) => [200, await this.post(asked.get("topic"), body)],
    "POST /cut": async (_, asked) => [200, this.cut(asked.get("how"))],
    "POST /restart": async () => [200, await this.restart()],
  };

  async #authorize(body, asked) {
    const [socket, channel] = ["socket_id", "channel_name"].map((name) => new URLSearchParams(body).get(name));
    if (channel.endsWith("-forbidden")) return [403, { message: "not for you" }];
    const user = asked.get("user");
    const member = channel.startsWith("presence-") ? { user_id: user, user_info: { name: `the ${user}` } } : undefined;
    return [200, this.backend.authorizeChannel(socket, channel, member)];
  }

  /** Publishes past the relay, and gives the answer. */
  post = async (topic, body, type = "text/plain") => {
    const headers = { Authorization: `Bearer ${secrets.publish}`, "Content-Type": type };
    const answer = await fetch(`${this.url}/${topic}`, { method: "POST", body, headers });
    assert(answer.status === 200, `to publish was answered with ${answer.status}`);
    return await answer.json();
  };

  async centrifugeApi(method, body) {
    const headers = { "X-API-Key": secrets.api };
    const answer = await fetch(`${this.url}/api/${method}`, { method: "POST", headers, body: JSON.stringify(body) });
    const { result, error } = await answer.json();
    assert(result, `${method}: ${error?.message}`);
    return result;
  }

  /** Ends what is open: by FIN, by RST, or after so many bytes more of what the server sends. */
  cut(how) {
    if (/^\d+$/.test(how)) this.between.cutAfter(Number(how));
    else this.between.cut(how);
    return {};
  }

  /** The server ends as a service manager ends it, and another one comes in its place. */
  async restart() {
    const exited = once(this.child, "exit");
    this.child.kill("SIGTERM");
    const [code] = await exited;
    await this.#serve(new URL(this.url).host);
    return { code };
  }

  close() {
    this.child.kill("SIGKILL");
    this.between.close();
    for (const site of this.#sites) site.close(() => {}).closeAllConnections();
    rmSync(this.#folder, { recursive: true });
  }
}

if (fileURLToPath(import.meta.url) === realpathSync(process.argv[1])) {
  const application = await Application.start(process.argv[2]);
  console.log(`open ${application.origin}/ in two windows`);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => (application.close(), process.exit()));
}
