// The clients of others in a page: `pusher-js`, `laravel-echo` and `centrifuge`, as npm has them for browsers, against the
// server to run, over cuts; and one topic through all doors of it (doors/).
//
//   node clients.mjs chromium|firefox SERVER      the server's program
//
// Prints `ok NAME` or `FAIL NAME: why` for each check; the exit status is 1 if one failed.

import { assert, check } from "../clients/harness.mjs";
import { Application } from "./doors/application.mjs";
import { room } from "./doors/room.mjs";
import { launch } from "./launch.mjs";
import { equal } from "./site.mjs";

const [name, program] = process.argv.slice(2);
const report = (what, run) => check(`${name}-clients-${what}`, run);

const application = await Application.start(program);
const { origin, stranger } = application;
let browser;
try {
  browser = await launch(name);
  const page = await browser.newPage();
  await page.goto(`${origin}/clients`);
  const cases = await page.evaluate("Object.keys(cases)");
  assert(cases.length > 0, "there are no cases");
  for (const one of cases) await report(one, () => page.evaluate(`cases[${JSON.stringify(one)}]()`));
  await report("a-stranger-gets-no-connection", async () => {
    await page.goto(`${stranger}/clients`);
    await page.evaluate("stranger()");
  });
  await room(application, browser, name, check);
  await report("and-nothing-is-left", async () => {
    await page.close();
    let left;
    do {
      const { channels } = await (await application.backend.get({ path: "/channels" })).json();
      left = [channels, (await application.centrifugeApi("channels", {})).channels];
    } while (left.some((channels) => Object.keys(channels).length > 0));
    equal(left, [{}, {}]);
  });
} finally {
  await browser?.close();
  application.close();
}
