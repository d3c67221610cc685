// Pages over TLS, in a headless browser that trusts an authority made on the spot and looks at the chain: what they
// send and get, a session that outlives the server, and a server of an authority that the browser does not know.
//
//   node tls.mjs chromium|firefox SERVER      the server's program; it needs openssl and certutil (NSS)
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert, check, start } from "../clients/harness.mjs";
import { launch } from "./launch.mjs";

const [name, program] = process.argv.slice(2);
const report = (what, run) => check(`${name}-tls-${what}`, run);
const scratch = mkdtempSync(join(tmpdir(), "pushloop-tls-"));

/** A folder of its own in the scratch. */
function folder(...path) {
  const made = join(scratch, ...path);
  mkdirSync(made, { recursive: true });
  return made;
}

/** The folder of an authority and of what it certifies. */
function authority(called) {
  const made = folder(called);
  execFileSync(new URL("../operations/certificates.sh", import.meta.url).pathname, [made], { stdio: "ignore" });
  return made;
}

/** Firefox has its authorities in its profile, Chromium in the home of the user. */
function trusting(trusted) {
  const [home, profile] = [folder("home"), folder("profile")];
  const store = name === "firefox" ? profile : folder("home", ".pki", "nssdb");
  execFileSync("certutil", ["-N", "-d", `sql:${store}`, "--empty-password"]);
  execFileSync("certutil", ["-A", "-d", `sql:${store}`, "-n", "tests", "-t", "C,,", "-i", join(trusted, "authority.pem")]);
  return { userDataDir: profile, env: { ...process.env, HOME: home } };
}

const [known, unknown] = [authority("known"), authority("unknown")];
const secret = join(scratch, "secret");
writeFileSync(secret, randomBytes(32));

/** A server; the second of a port goes on with the sessions of the first. */
const serve = (certified, port = 0) => start(program, ["--listen-tls", `127.0.0.1:${port}`, "--tls-cert", join(certified, "chain.pem"),
  "--tls-key", join(certified, "key.pem"), "--tls-ticket-secret-file", secret, "--anyone-may-publish", "--history", "10"], "https");

/** What the counters of the server say. */
const counter = (page, of) => page.evaluate(async (of) => {
  const lines = (await (await fetch("/metrics")).text()).split("\n");
  return Number(lines.find((line) => line.startsWith(`${of} `)).split(" ")[1]);
}, of);

/** What arrives of a publication by each way, at a WebSocket and at an event stream. */
function exchange(page, ways) {
  return page.evaluate(async (ways) => {
    const got = [];
    let arrived;
    const listener = (from) => ({ data }) => { got.push(`${from} ${data}`); arrived?.(); };
    const socket = new WebSocket(location.origin.replace("https", "wss") + "/t");
    const source = new EventSource("/t");
    socket.onmessage = listener("socket");
    source.onmessage = listener("stream");
    await Promise.all([
      new Promise((open, fail) => { socket.onopen = open; socket.onclose = ({ code }) => fail(new Error(`closed: ${code}`)); }),
      new Promise((open) => source.addEventListener("subscribed", open)),
    ]);
    for (const way of ways) {
      const both = new Promise((done) => { const enough = got.length + 2; arrived = () => got.length >= enough && done(); });
      if (way === "fetch") await fetch("/t", { method: "POST", body: way });
      else socket.send(way);
      await both;
    }
    socket.onclose = null;
    socket.close();
    source.close();
    return got.sort();
  }, ways);
}

let server = await serve(known);
const stranger = await serve(unknown);
const browser = await launch(name, false, trusting(known));
try {
  const page = await browser.newPage();
  await report("a-page-a-websocket-a-stream-and-a-request-come-through", async () => {
    await page.goto(`${server.url}/healthz`);
    assert(await page.evaluate(() => isSecureContext && location.protocol === "https:"), "the page is not secure");
    const got = await exchange(page, ["message", "fetch", "x".repeat(50_000)]);
    const wanted = ["socket", "stream"].flatMap((from) => ["fetch", "message", "x".repeat(50_000)].map((what) => `${from} ${what}`));
    assert(JSON.stringify(got) === JSON.stringify(wanted), `${got.map((it) => it.slice(0, 30))} arrived`);
  });
  await report("the-live-page-shows-what-is-published", async () => {
    const live = await browser.newPage();
    await live.goto(`${server.url}/#t`);
    await live.waitForSelector("#state[data-state=open]");
    await live.close();
  });
  await report("sessions-are-resumed-after-the-server-was-started-anew", async () => {
    const port = new URL(server.url).port;
    server.child.kill();
    await once(server.child, "exit");
    server = await serve(known, port);
    await page.goto(`${server.url}/healthz`);
    // What comes first can have no session but one of the server before.
    const first = await counter(page, "pushloop_tls_handshakes_resumed_total");
    assert(first >= 1, "no session was resumed");
    const got = await exchange(page, ["message"]);
    assert(got.length === 2, `${got} arrived`);
  });
  await report("a-server-of-another-authority-is-not-believed", async () => {
    const refused = await page.evaluate((url) => new Promise((resolve) => {
      const socket = new WebSocket(`${url.replace("https", "wss")}/t`);
      socket.onopen = () => resolve("open");
      socket.onclose = ({ code }) => resolve(code);
    }), stranger.url);
    assert(refused === (name === "firefox" ? 1015 : 1006), `the WebSocket: ${refused}`);
    const why = await page.goto(`${stranger.url}/healthz`).then(() => "the page came", (error) => error.message);
    assert(/ERR_CERT_AUTHORITY_INVALID|UNKNOWN_ISSUER/i.test(why), why);
  });
} finally {
  await browser.close();
  server.child.kill();
  stranger.child.kill();
  rmSync(scratch, { recursive: true, force: true });
}
