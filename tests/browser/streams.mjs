// Ten event streams of one page in headless Chromium, through a proxy: all of them at once over HTTP/2, and six over
// HTTP/1.1, where a browser has no more connections to a host.
//
//   node streams.mjs http://HOST:PORT|https://HOST:PORT PUBLISHES      where the page is, and where to publish

import { bounded, assert } from "../clients/harness.mjs";
import { launch } from "./launch.mjs";

const [base, publishes] = process.argv.slice(2);
const [all, atOnce] = [10, base.startsWith("https:") ? 10 : 6];

const browser = await launch("chromium", false, { acceptInsecureCerts: true });
try {
  const page = await browser.newPage();
  await page.goto(`${base}/healthz`);
  await page.evaluate((all) => {
    const waiting = new Set();
    globalThis.until = (condition) => new Promise((resolve) => {
      const look = () => condition() && (waiting.delete(look), resolve());
      waiting.add(look);
      look();
    });
    // Which streams have begun, and which have had a publication.
    globalThis.begun = new Set(), globalThis.live = new Set();
    const note = (set, nth) => () => (set.add(nth), waiting.forEach((look) => look()));
    globalThis.sources = Array.from({ length: all }, (_, nth) => {
      const source = new EventSource(`/stream-${nth}`);
      source.addEventListener("subscribed", note(begun, nth));
      source.onmessage = note(live, nth);
      return source;
    });
  }, all);
  const haveBegun = (count) => bounded(page.evaluate((count) => until(() => begun.size >= count), count), `${count} have not begun`);
  await haveBegun(atOnce);
  for (const nth of await page.evaluate(() => [...begun])) await fetch(`${publishes}/stream-${nth}`, { method: "POST", body: "x" });
  await bounded(page.evaluate((count) => until(() => live.size >= count), atOnce), "publications do not come");
  const begun = await page.evaluate(() => begun.size);
  assert(begun === atOnce, `${begun} streams are open, and not ${atOnce}`);
  // Each that is closed makes way for another.
  await page.evaluate((most) => [...begun].slice(0, most).forEach((nth) => sources[nth].close()), all - atOnce);
  await haveBegun(all);
} finally {
  await browser.close();
}
