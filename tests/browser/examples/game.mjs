// The game: where one page flies, the others see it, and all have one arena.

import WebSocket from "ws";
import { assert } from "../../clients/harness.mjs";

const KEYS = [["ArrowRight", "x", 1], ["KeyS", "y", 1], ["ArrowLeft", "x", -1], ["KeyW", "y", -1]];
const ship = (page) => page.evaluate(() => world.snapshots.at(-1).ships.get(world.id));
const PILOTS = ["Ada", "Mira", "No\u200bor"];
let joined = 0;
/** The page's ship is in its own newest snapshot. */
const isFlying = (page) => page.waitForFunction(() => world.snapshots.at(-1)?.ships.has(world.id));

async function join(page) {
  if (await page.$("#join:not([hidden])")) {
    await page.type("#name", PILOTS[joined++ % PILOTS.length]);
    await page.keyboard.press("Enter");
  }
  await isFlying(page);
}

/** Flies for a while, away from the wall, and gives where no other ship would take it for. */
async function fly(page, [key, axis, sense]) {
  const from = await ship(page), back = from[axis] * sense > (sense > 0 ? 2000 : -500);
  const [pressed, way] = back ? [{ ArrowRight: "ArrowLeft", ArrowLeft: "ArrowRight", KeyS: "KeyW", KeyW: "KeyS" }[key], -sense] : [key, sense];
  await page.keyboard.down(pressed);
  const wanted = { id: from.id, axis, way, beyond: from[axis] + way * 90 };
  await page.waitForFunction(reached, {}, wanted);
  await page.keyboard.up(pressed);
  return wanted;
}
const reached = ({ id, axis, way, beyond }) => {
  const seen = world.snapshots.at(-1)?.ships.get(id);
  return seen && (seen[axis] - beyond) * way > 0;
};

/** Everything in a page's newest snapshot that does not change while nobody steers, and the names. */
const state = (page) => page.evaluate(() => {
  const { ships, sparks } = world.snapshots.at(-1);
  const all = [...ships.values()].map(({ id, x, y, vx, vy, sparks, peace, away }) => [id, world.names.get(id), x, y, vx, vy, sparks, peace, away]);
  return JSON.stringify([all, sparks]);
});

/** A ship without a page, which flies now here and now there. */
function drift(host, name) {
  const socket = new WebSocket(`ws://${host}/live`);
  socket.on("error", () => {});
  socket.on("open", () => {
    const join = Buffer.alloc(25);
    join[0] = 1;
    join.write(name, 9);
    socket.send(join);
    setInterval(() => socket.send(Buffer.from([2, 0, Math.random() * 256, 180])), 700).unref();
  });
}

export default {
  offence: "I am at 100, 100",

  async act(page, n) {
    await join(page);
    return fly(page, KEYS[n % KEYS.length]);
  },

  sees: (page, what) => page.waitForFunction(reached, {}, what),

  async same(pages) {
    await Promise.all(pages.map(join));
    await pages[0].waitForFunction((count) => [...world.snapshots.at(-1).ships.values()].filter(({ away }) => !away).length === count, {}, pages.length);
    for (let tries = 0; tries < 100; tries++) {
      const states = await Promise.all(pages.map(state));
      if (new Set(states).size === 1 && !states[0].includes("null")) return;
      // A turn of the page's own clock, which the server's ships come to rest in.
      await pages[0].evaluate(() => new Promise((resolve) => setTimeout(resolve, 100)));
    }
    assert(false, "their arenas differ");
  },

  async checks({ check, pages: [one, two, three], stateIs }) {
    await check("a-ship-is-given-back", async () => {
      const before = await ship(three);
      await three.reload();
      await stateIs(three, "open");
      await isFlying(three);
      const after = await ship(three);
      assert(after.id === before.id && after.sparks >= before.sparks, "it is another ship");
    });
    await check("pointer", async () => {
      const before = await ship(two), box = await (await two.$("#arena")).boundingBox();
      const right = before.x < 1280;
      await two.mouse.move(box.x + box.width * (right ? .9 : .1), box.y + box.height * .5);
      await two.mouse.down();
      await two.waitForFunction((x, way) => (world.snapshots.at(-1).ships.get(world.id).x - x) * way > 90, {}, before.x, right ? 1 : -1);
      await two.mouse.up();
      await two.waitForFunction(() => world.snapshots.at(-1).ships.get(world.id).vx === 0);
    });
    await check("latency-is-shown", () => one.waitForFunction(() => /^[\d.]+$/.test(document.querySelector("#latency").textContent)));
    await check("words-for-the-arena", () => one.waitForFunction(() =>
      /^Rank \d of 3, \d+ sparks\. .+ lead.*\. The nearest spark is [a-z ]+\.$/.test(document.querySelector("#summary").textContent)));
    await check("a-name-is-text", async () => {
      await two.evaluate(() => { sessionStorage.name = "<b id=bad>bold"; sockets.at(-1).close(); });
      await one.waitForFunction(() => document.querySelector("#leaders").textContent.includes("<b id=bad>bold"));
      assert(await one.$("#bad") === null, "it became an element");
      await stateIs(two, "open");
      await isFlying(two);
    });
  },

  /** Among bots, the first page hunts for sparks until it has a few, and company. */
  async picture([page], look) {
    if (look === "light") for (let n = 1; n <= 30; n++) drift(new URL(page.url()).host, `bot ${n}`);
    await page.evaluate(() => scrollTo(0, 0));
    const least = (await ship(page)).sparks + (look === "light" ? 10 : 1), pressed = new Set();
    const isWorthIt = () => page.evaluate((wanted, count) => {
      const ships = [...world.snapshots.at(-1).ships.values()], own = world.snapshots.at(-1).ships.get(world.id);
      const near = ships.filter(({ x, y }) => Math.abs(x - own.x) < 400 && Math.abs(y - own.y) < 240);
      return own.sparks >= wanted && near.length >= count;
    }, least, look === "phone" ? 1 : 5);
    for (let turns = 0; turns < 900 && (turns < 20 || !await isWorthIt()); turns++) {
      const keys = await page.evaluate(async () => {
        await new Promise(requestAnimationFrame);
        const { ships, sparks } = world.snapshots.at(-1), { x, y } = ships.get(world.id);
        const [dx, dy] = sparks.map((spark) => [spark[0] - x, spark[1] - y]).sort((a, b) => Math.hypot(...a) - Math.hypot(...b))[0];
        return [dx > 12 && "ArrowRight", dx < -12 && "ArrowLeft", dy > 12 && "ArrowDown", dy < -12 && "ArrowUp"].filter(Boolean);
      });
      for (const key of [...pressed].filter((key) => !keys.includes(key))) { pressed.delete(key); await page.keyboard.up(key); }
      for (const key of keys.filter((key) => !pressed.has(key))) { pressed.add(key); await page.keyboard.down(key); }
    }
    for (const key of pressed) await page.keyboard.up(key);
  },
};
