// Tokens as pages have them, in a headless browser: each way in which a page can send one, what it sees of a refusal, a
// cookie that pages of elsewhere make the browser send, and the end of a token.
//
//   node tokens.mjs chromium|firefox SERVER      the server's program
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { check, start } from "../clients/harness.mjs";
import { launch } from "./launch.mjs";
import { equal, site } from "./site.mjs";

const [name, program] = process.argv.slice(2);
const report = (what, run) => check(`${name}-tokens-${what}`, run);

const folder = mkdtempSync(join(tmpdir(), "pushloop-tokens-"));
const secret = join(folder, "secret");
writeFileSync(secret, "0123456789abcdef0123456789abcdef\n");
const [friend, stranger] = [await site(), await site()];
const { child, url } = await start(program, ["--listen", "127.0.0.1:0", "--jwt-secret-file", secret,
  "--token-cookie", "session", "--allow-origin", friend.origin, "--history", "1"], "http");

/** A token for the topic `t`. */
function make(seconds, ...more) {
  const grants = ["--subscribe", "t", "--publish", "t", "--expires-in", String(seconds), ...more];
  return execFileSync(program, ["token", "make", "--secret-file", secret, ...grants], { encoding: "utf8" }).trim();
}
const token = make(3600);

/** How many publications there were, with this one. */
async function published() {
  const answer = await fetch(`${url}/t`, { method: "POST", body: "x", headers: { Authorization: `Bearer ${token}` } });
  return Number((await answer.json()).id.split("-")[1]);
}

/** A page that can try each way to get in, and say what came of it. */
async function open(browser, origin) {
  const page = await browser.newPage();
  await page.goto(`${origin}/healthz`);
  await page.evaluate((url) => {
    const ws = url.replace("http", "ws");
    // What a WebSocket says when it is open, or how it is closed before.
    globalThis.socket = (path, protocols = []) => new Promise((resolve) => {
      const socket = new WebSocket(ws + path, protocols);
      socket.onopen = () => resolve(["open", socket.protocol]);
      socket.onclose = ({ code }) => resolve(["closed", code]);
      globalThis.end = new Promise((ends) => socket.addEventListener("close", ({ code, reason }) => ends([code, reason])));
    });
    globalThis.stream = (path, options) => new Promise((resolve) => {
      const source = new EventSource(url + path, options);
      source.addEventListener("subscribed", () => { source.close(); resolve("open"); });
      source.onerror = () => { resolve(source.readyState === EventSource.CLOSED ? "refused" : "lost"); source.close(); };
    });
    globalThis.publish = async (options) => {
      const answer = await fetch(`${url}/t`, { method: "POST", body: "Goal!", ...options }).catch((error) => error.name);
      return answer.status ? [answer.status, (await answer.text()).split("\n")[0]] : answer;
    };
  }, url);
  return page;
}

const browser = await launch(name);
try {
  let page = await open(browser, url);
  await report("without-one-nothing-is-let-in-and-a-page-sees-why", async () => {
    equal(await page.evaluate(() => socket("/t")), ["closed", 1006]);
    equal(await page.evaluate(() => stream("/t")), "refused");
    equal(await page.evaluate(() => publish({})), [401, "a token is needed to publish: t"]);
    equal(await page.evaluate(() => publish({ headers: { Authorization: "Bearer x" } })),
      [401, "the token is not three parts with dots between them"]);
  });
  await report("it-comes-as-a-subprotocol-in-the-query-or-in-a-field", async () => {
    equal(await page.evaluate((token) => socket("/t", ["bearer", token]), token), ["open", "bearer"]);
    equal(await page.evaluate((token) => socket(`/t?token=${token}`), token), ["open", ""]);
    equal(await page.evaluate((token) => stream(`/t?token=${token}`), token), "open");
    const headers = { Authorization: `Bearer ${token}` };
    equal((await page.evaluate((headers) => publish({ headers }), headers))[0], 200);
  });
  await report("when-it-expires-a-page-is-told", async () => {
    equal(await page.evaluate((token) => socket("/t", ["bearer", token]), make(2)), ["open", "bearer"]);
    equal(await page.evaluate(() => end), [4401, "the token expired"]);
  });

  await report("the-live-page-has-that-of-its-address", async () => {
    const live = await browser.newPage();
    await live.goto(`${url}/?token=${token}#t`);
    await live.waitForSelector("#state[data-state=open]");
  });

  await report("an-operator-sees-more-on-it-and-others-do-not", async () => {
    const live = await browser.newPage();
    await live.goto(`${url}/?operator&token=${make(3600, "--subscribe", "$operator")}#t`);
    await live.waitForSelector("#operator:not([hidden]) caption");
    await live.goto(`${url}/?operator&token=${token}#t`);
    await live.waitForSelector("#state[data-state=open]");
    equal(await live.$eval("#operator", ({ hidden, children }) => [hidden, children.length]), [true, 0]);
  });

  // Cookies are those of a host: pages of its other ports are others, and the browser sends them along.
  await browser.setCookie({ name: "session", value: token, domain: "127.0.0.1", path: "/" });
  page = await open(browser, url);
  await report("a-cookie-is-one-for-pages-of-the-same-origin", async () => {
    equal(await page.evaluate(() => socket("/t")), ["open", ""]);
    equal(await page.evaluate(() => stream("/t")), "open");
    equal((await page.evaluate(() => publish({})))[0], 200);
    equal((await page.evaluate((token) => publish({ headers: { Authorization: `Bearer ${token}` } }), token))[0], 400);
  });
  const withCookies = { credentials: "include" };
  page = await open(browser, friend.origin);
  await report("and-of-origins-that-are-listed", async () => {
    equal(await page.evaluate(() => socket("/t")), ["open", ""]);
    equal(await page.evaluate(() => stream("/t", { withCredentials: true })), "open");
    equal((await page.evaluate((how) => publish(how), withCookies))[0], 200);
    equal((await page.evaluate(() => publish({})))[0], 401);
  });
  page = await open(browser, stranger.origin);
  await report("and-not-of-others", async () => {
    equal(await page.evaluate(() => socket("/t")), ["closed", 1006]);
    equal(await page.evaluate(() => stream("/t", { withCredentials: true })), "refused");
    const before = await published();
    equal(await page.evaluate((how) => publish(how), withCookies), "TypeError");
    // What came of it, the page cannot see.
    await page.evaluate((how) => publish(how), { ...withCookies, mode: "no-cors" });
    equal(await published(), before + 1);
  });
} finally {
  await browser.close();
  child.kill();
  [friend, stranger].forEach(({ pages }) => pages.close());
  rmSync(folder, { recursive: true });
}
