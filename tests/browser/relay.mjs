// What is between a browser and the server, and can be cut.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** A port of its own that leads to another, whoever listens there at the time. */
export async function relay(port) {
  const open = new Set();
  let left = Infinity, refuses = false, held = null;
  const join = (browser) => {
    const backend = connect(port, "127.0.0.1");
    const end = (how) => [browser, backend].forEach((socket) => socket[how]());
    const pair = { end };
    open.add(pair);
    backend.on("data", (bytes) => {
      browser.write(bytes.subarray(0, left));
      left -= bytes.length;
      if (left > 0) return;
      left = Infinity;
      // Of what goes with a reset, the browser may see nothing.
      browser.end(() => end("destroy"));
    });
    browser.on("data", (bytes) => backend.write(bytes));
    for (const socket of [browser, backend]) {
      socket.on("error", () => end("destroy"));
      socket.on("close", () => (open.delete(pair), end("destroy")));
    }
  };
  const server = createServer((browser) => {
    browser.on("error", () => browser.destroy());
    if (refuses) browser.destroy();
    else if (held) held.push(browser);
    else join(browser);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    host: `127.0.0.1:${server.address().port}`,
    /** Cuts all that is open: by FIN, or by RST. */
    cut: (how) => open.forEach(({ end }) => end(how === "reset" ? "resetAndDestroy" : "destroy")),
    /** Cuts what the server sends after so many bytes more, wherever that is. */
    cutAfter: (bytes) => (left = bytes),
    /** Whether it ends what connects at once. */
    refuse: (what) => (refuses = what),
    /** Whether what connects waits, until it does no more. A browser has its attempts wait for longer and longer if they fail. */
    hold: (what) => {
      const waiting = held ?? [];
      held = what ? [] : null;
      waiting.filter((browser) => !browser.destroyed).forEach(join);
    },
    close: () => {
      server.close();
      open.forEach(({ end }) => end("destroy"));
      held?.forEach((browser) => browser.destroy());
    },
  };
}
