// The market board: what one page orders, the others have on their tape, and their boards are the
// server's, to the cent.

import { assert } from "../../clients/harness.mjs";

const CLICK_MS = 8_000;

/** Clicks until it has come of it: a browser that gets little of a processor may lose a click. */
const clicks = async (page, selector, hasCome, wanted) => {
  for (const last of [false, false, true]) {
    await page.click(selector);
    try {
      return await page.waitForFunction(hasCome, { timeout: CLICK_MS }, wanted);
    } catch {
      assert(!last, `nothing came of clicks on ${selector}`);
    }
  }
};

const choose = async (page, symbol) => {
  await page.click("#search", { count: 3 });
  await page.keyboard.press("Backspace");
  await page.type("#search", symbol);
  const isChosen = (id) => document.getElementById(id)?.ariaSelected === "true";
  await clicks(page, `#stock-${symbol}`, isChosen, `stock-${symbol}`);
};
/** Whether a page shows this as the latest order. */
const isLatest = (wanted) => document.querySelector("#tape li")?.textContent.includes(wanted);
const SYMBOLS = ["AURE", "KESL", "ZEPM", "IRIF", "OAKR", "TUNT"];

/** Seconds of the server's that have come to a page: while others take the processors, it may lag, and is out of step. */
const seconds = (page) => page.evaluate(() => Number(document.body.dataset.inStep) + Number(document.body.dataset.outOfStep));
const hasSeconds = (count) => Number(document.body.dataset.inStep) + Number(document.body.dataset.outOfStep) >= count;

export default {
  offence: "steal AURE",

  async act(page, n) {
    const symbol = SYMBOLS[n % SYMBOLS.length], side = n % 2 ? "buy" : "sell";
    await choose(page, symbol);
    const what = `${side === "buy" ? "bought" : "sold"} ${symbol}`;
    await clicks(page, `#${side}`, isLatest, what);
    return what;
  },

  sees: (page, what) => page.waitForFunction(isLatest, {}, what),

  /** Once a second the server says what its prices come to, and each page compares. */
  async same(pages) {
    await Promise.all(pages.map(async (page) => {
      const before = await page.evaluate(() => Number(document.body.dataset.inStep ?? 0));
      await page.waitForFunction((count) => document.body.dataset.inStep >= count + 2, {}, before);
      const { outOfStep, missed } = await page.evaluate(() => ({ ...document.body.dataset }));
      // A browser that is busy may lag, and then catches up; what it skipped it says.
      assert(outOfStep === "0" || missed !== "0", `${outOfStep} times out of step, and nothing was skipped`);
    }));
  },

  async checks({ check, pages: [one, two], wires }) {
    await check("search", async () => {
      await one.click("#search", { count: 3 });
      await one.type("#search", "kestrel la");
      await one.waitForFunction(() => document.querySelectorAll("#prices li").length === 1);
      assert(await one.$("#stock-KESL"), "it is another");
    });
    await check("keyboard", async () => {
      await one.click("#search", { count: 3 });
      await one.keyboard.press("Backspace");
      await one.focus("#prices");
      await one.keyboard.press("Home");
      for (const key of ["ArrowRight", "ArrowDown", "ArrowUp", "ArrowRight"]) await one.keyboard.press(key);
      const state = await one.evaluate(() => ({
        active: document.querySelector("#prices").getAttribute("aria-activedescendant"),
        third: document.querySelectorAll("#prices li")[2].id,
        label: document.querySelector("#prices [aria-selected=true]").ariaLabel,
      }));
      assert(state.active === state.third, `${state.active} is chosen, not ${state.third}`);
      assert(/^\w{4}, .+, [\d.]+, (up|down) [\d.]+ percent in a minute, between/.test(state.label), state.label);
      await one.keyboard.press("/");
      assert(await one.evaluate(() => document.activeElement.id) === "search", "/ does not lead to the search");
    });
    await check("charts-have-words", async () => {
      await one.waitForFunction(() => /between [\d.]+ and [\d.]+, now/.test(document.querySelector("#chart").ariaLabel));
      await one.waitForFunction(() => /at most \d+ ms$/.test(document.querySelector("#ages").ariaLabel));
    });
    await check("prices-are-not-shouted", async () => {
      const live = await one.$$eval("[aria-live], [role=status], [role=log], [role=alert]", (all) => all.map((one) => one.outerHTML));
      assert(live.length <= 1 && live.every((one) => one.includes("unseen")), live.join());
    });
    await check("pause", async () => {
      const prices = () => one.$$eval("#prices .price", (all) => all.map((price) => price.textContent).join());
      await one.click("#pause");
      // A second of the feed comes in meanwhile; nothing of it is drawn.
      const was = await prices(), seen = await seconds(one);
      await one.waitForFunction(hasSeconds, {}, seen + 1);
      assert(await prices() === was, "prices moved");
      await one.click("#pause");
      await one.waitForFunction((before) => [...document.querySelectorAll("#prices .price")].map((price) => price.textContent).join() !== before, {}, was);
    });
    await check("a-slow-page-skips-and-catches-up", async () => {
      // Anew, so that the kernels' buffers are small.
      await wires[1].cut();
      wires[1].hold();
      await wires[1].mend();
      // So many seconds of prices are more than the kernels' buffers hold.
      const { missed: before, outOfStep: slips } = await one.evaluate(() => ({ ...document.body.dataset }));
      await one.waitForFunction(hasSeconds, {}, await seconds(one) + 8);
      const inStep = await two.evaluate(() => Number(document.body.dataset.inStep));
      wires[1].release();
      // What it missed is counted when it reads on.
      await one.waitForFunction(() => / [1-9][\d,]* in all/.test(document.querySelector("#totals").textContent));
      await two.waitForFunction((count) => document.body.dataset.inStep > count, {}, inStep);
      await two.waitForFunction(() => document.body.dataset.missed > 0);
      const { missed, outOfStep } = await one.evaluate(() => ({ ...document.body.dataset }));
      assert(outOfStep === slips || missed !== before, "the slow page held another back");
    });
  },

  async picture(pages, look) {
    const [page] = pages;
    const orders = look === "light" ? [0, 1, 2, 3, 4, 5] : [];
    for (const n of orders) await this.act(pages[n % 3], n);
    await choose(page, "CEDL");
    await page.click("#search", { count: 3 });
    await page.keyboard.press("Backspace");
    await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
    const seconds = orders.length ? 15 : 2, seen = await page.evaluate(() => Number(document.body.dataset.inStep));
    await page.waitForFunction((count) => document.body.dataset.inStep >= count, {}, seen + seconds);
  },
};
