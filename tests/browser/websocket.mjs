// A page's WebSockets against the peer (tests/clients/peer.rs), in a headless browser.
//
//   node websocket.mjs chromium|firefox SERVER [ARGUMENT]...   the command that starts the peer
//
// Prints `ok NAME` or `FAIL NAME: why` for each case of cases.js; the exit status is 1 if one failed. Browsers
// always offer compression, so there is no run without; `takeover` among the arguments says which one.

import { fileURLToPath } from "node:url";
import { assert, check, start } from "../clients/harness.mjs";
import { launch } from "./launch.mjs";

const [name, program, ...parameters] = process.argv.slice(2);
const mode = parameters.includes("takeover") ? "takeover" : "deflate";
const { child, url } = await start(program, parameters, "ws");
let browser;
try {
  browser = await launch(name);
  const page = await browser.newPage();
  await page.goto(url.replace("ws:", "http:"));
  await page.addScriptTag({ path: fileURLToPath(new URL("cases.js", import.meta.url)) });
  const cases = await page.evaluate("Object.keys(cases)");
  assert(cases.length > 0, "there are no cases");
  for (const one of cases) {
    await check(`${name}-${mode}-${one}`, () => page.evaluate(`cases[${JSON.stringify(one)}]("${mode}")`));
  }
  await check(`${name}-${mode}-foreign-origin`, async () => {
    // localhost is not 127.0.0.1.
    await page.goto(url.replace("ws://127.0.0.1", "http://localhost"));
    await page.addScriptTag({ path: fileURLToPath(new URL("cases.js", import.meta.url)) });
    await page.evaluate(`fails(new WebSocket(${JSON.stringify(url)}))`);
  });
} finally {
  await browser?.close();
  child.kill();
}
