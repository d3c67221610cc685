// Pages of another origin, and the comparison of what comes of them.

import { once } from "node:events";
import { createServer } from "node:http";
import { assert } from "../clients/harness.mjs";

export function equal(actual, expected) {
  [actual, expected] = [actual, expected].map((it) => JSON.stringify(it));
  assert(actual === expected, `${actual} and not ${expected}`);
}

/** A site of its own origin; its pages are empty. */
export async function site() {
  const pages = createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<!doctype html>"));
  await once(pages.listen(0, "127.0.0.1"), "listening");
  return { pages, origin: `http://127.0.0.1:${pages.address().port}` };
}
