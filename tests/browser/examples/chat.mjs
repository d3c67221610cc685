// The chat: what one page says, the others show, once and in one order, whatever was cut meanwhile.

import { WAIT_MS, assert } from "../../clients/harness.mjs";

async function say(page, text) {
  await page.type("#say", text);
  await page.keyboard.press("Enter");
  return text;
}
const shows = (page, text) => page.waitForFunction(
  (wanted) => [...document.querySelectorAll("#lines li:not(.waits) p")].some((line) => line.textContent === wanted), {}, text);
const lines = (page) => page.$$eval("#lines li:not(.note)", (all) => all.map((item) => `${item.line.id} ${item.line.from}: ${item.line.text}`));
const join = async (page, room) => {
  await page.type("#room", room);
  await page.keyboard.press("Enter");
  await page.waitForFunction((name) => document.querySelector("#title").textContent === name && document.querySelector("#count").textContent, {}, room);
};
const rename = async (page, name) => {
  await page.click("#name", { count: 3 });
  await page.type("#name", name);
  await page.keyboard.press("Enter");
};
const here = (page, ...names) => page.waitForFunction(
  (wanted) => [...document.querySelectorAll("#people .clip")].map((name) => name.textContent.replace(" (you)", "")).join() === wanted, {}, names.sort().join());

export default {
  offence: '{"say": 5}',
  act: (page, n) => say(page, `message ${n}, <b>with</b> "marks" & more`),
  sees: shows,

  async same(pages) {
    for (const deadline = performance.now() + WAIT_MS; ;) {
      const [first, ...others] = (await Promise.all(pages.map(lines))).map((all) => all.join("\n"));
      if (others.every((other) => other === first)) return;
      assert(performance.now() < deadline, `the pages differ:\n${first}\n--\n${others.join("\n--\n")}`);
    }
  },

  async checks(story) {
    const { check, pages, wires, stateIs } = story;
    const [one, two, three] = pages;
    await check("names-and-who-is-here", async () => {
      await rename(one, "Ada");
      await rename(two, "Grace");
      await rename(three, "Linus");
      for (const page of pages) await here(page, "Ada", "Grace", "Linus");
    });
    await check("what-is-said-while-cut-off-arrives-once", async () => {
      await two.evaluate(() => { window.noRetries = true; });
      await wires[1].cut();
      await stateIs(two, "retrying");
      const texts = [await say(two, "said offline 1"), await say(one, "said meanwhile"), await say(two, "said offline 2")];
      await shows(three, "said meanwhile");
      assert(await two.$$eval("#lines .waits", (all) => all.length) === 2, "what waits is not shown");
      await wires[1].mend();
      await two.evaluate(() => {
        window.noRetries = false;
        dispatchEvent(new Event("online"));
      });
      for (const page of pages) for (const text of texts) await shows(page, text);
      await this.same(pages);
      for (const text of texts) {
        const times = (await lines(three)).filter((line) => line.endsWith(text)).length;
        assert(times === 1, `${text} was said ${times} times`);
      }
    });
    await check("an-answer-that-was-lost-is-not-said-twice", async () => {
      // The server has it, and the page does not know.
      wires[1].hold();
      await say(two, "sent, and cut off");
      await shows(one, "sent, and cut off");
      await wires[1].cut();
      await stateIs(two, "retrying");
      await wires[1].mend();
      wires[1].release();
      await shows(two, "sent, and cut off");
      await this.same(pages);
      assert((await lines(one)).filter((line) => line.endsWith("cut off")).length === 1, "twice");
    });
    await check("much-that-was-said-offline-arrives-in-order-and-is-not-too-much", async () => {
      await three.evaluate(() => { window.noRetries = true; });
      await wires[2].cut();
      await stateIs(three, "retrying");
      await three.evaluate(() => {
        for (let n = 0; n < 80; n++) {
          document.querySelector("#say").value = `one of many, ${n}`;
          document.querySelector("#send").requestSubmit();
        }
      });
      await wires[2].mend();
      await three.evaluate(() => {
        window.noRetries = false;
        dispatchEvent(new Event("online"));
      });
      await shows(one, "one of many, 79");
      await this.same(pages);
      const many = (await lines(one)).map((line) => line.split("one of many, ")[1]).filter(Boolean).join();
      assert(many === [...Array(80).keys()].join(), many);
    });
    await check("unread", async () => {
      for (const page of [one, two]) await join(page, "garden");
      await one.click("#rooms [data-room=lobby]");
      await say(two, "in the garden");
      await one.waitForFunction(() => document.querySelector("[data-room=garden] .unread:not([hidden])")?.textContent === "1");
      assert(/^\(1\) /.test(await one.title()), "the title does not say so");
      assert(!(await lines(three)).some((line) => line.endsWith("in the garden")), "it is heard in another room");
      await one.click("#rooms [data-room=garden]");
      await shows(one, "in the garden");
      assert(!await one.$(".unread:not([hidden])"), "it is still unread");
    });
    await check("history-on-joining", async () => {
      await join(three, "garden");
      await shows(three, "in the garden");
      await here(one, "Ada", "Grace", "Linus");
    });
    await check("leaving", async () => {
      await three.click("#leave");
      await here(one, "Ada", "Grace");
      for (const page of [one, two]) await page.click("#rooms [data-room=lobby]");
    });
    await check("a-name-is-one-persons", async () => {
      const four = await story.open();
      await stateIs(four, "open");
      await rename(four, "Ada");
      await stateIs(four, "refused");
      assert((await four.$eval("#state", (state) => state.textContent)) === "refused: the name Ada is taken", "it is not said why");
      await rename(four, "Barbara");
      await stateIs(four, "open");
      await here(one, "Ada", "Barbara", "Grace", "Linus");
      await four.close();
      pages.pop();
      await wires.pop().cut();
      await here(one, "Ada", "Grace", "Linus");
    });
    await check("what-cannot-be-said-or-be-a-name-is-left-out", async () => {
      const before = await one.evaluate(() => window.sockets.length);
      await one.$eval("#say", (area) => { area.value = "\u0000a\tb\u0007\r\nc\ud800 "; });
      await one.focus("#say");
      await one.keyboard.press("Enter");
      await shows(three, "a\tb\nc\ufffd");
      assert(await one.evaluate(() => window.sockets.length) === before, "it was refused");
      await one.$eval("#name", (field) => { field.value = " A\u200bda\u202e  \u3164 L. "; });
      await one.focus("#name");
      await one.keyboard.press("Enter");
      await here(three, "Ada L.", "Grace", "Linus");
      await rename(one, "Ada");
      await here(three, "Ada", "Grace", "Linus");
    });
    await check("sixteen-rooms-and-no-more", async () => {
      for (let n = 0; n < 14; n++) await join(one, `room ${n}`);
      await one.type("#room", "too many");
      await one.keyboard.press("Enter");
      await one.waitForFunction(() => document.querySelector(".unseen").textContent.includes("16 rooms"));
      assert(await one.$eval("#title", (title) => title.textContent) === "room 13", "it was joined");
      await one.reload();
      await stateIs(one, "open");
      await one.waitForFunction(() => [...rooms.values()].length === 16 && [...rooms.values()].every(({ joined }) => joined));
      assert(!await one.$(".unread:not([hidden])"), "history is unread");
      for (let n = 0; n < 14; n++) {
        await one.click(`#rooms [data-room="room ${n}"]`);
        await one.click("#leave");
      }
      await one.click("#rooms [data-room=lobby]");
      await stateIs(one, "open");
    });
    await check("markup-is-text", async () => {
      await say(one, "<img src=x onerror=window.broken=1>");
      await shows(three, "<img src=x onerror=window.broken=1>");
      assert(!await three.evaluate(() => window.broken || document.querySelector("#lines img")), "it was taken as markup");
    });
  },

  async picture(pages, look) {
    const [one, two, three] = pages;
    if (look === "phone") await two.click("#rooms [data-room=harbour]");
    if (look !== "light") return;
    for (const page of pages) await join(page, "harbour");
    await join(one, "weather");
    await one.click("#rooms [data-room=harbour]");
    for (const [page, text] of [
      [two, "The ferry is late again: 14:20 instead of 14:05."], [three, "Thanks! Is the small boat still at the north pier?"],
      [one, "It is: I can see it from here, and the wind has turned."], [one, "If you hurry, you make it."],
      [two, "My train was in a tunnel, and not one line is missing."], [three, "On my way."],
    ]) {
      await say(page, text);
      await shows(one, text);
    }
    await say(two, "…and tickets are on the left.");
    await two.click("#rooms [data-room=lobby]");
    for (const text of ["Anyone in the harbour?", "Lunch at one."]) await say(two, text);
    await one.waitForFunction(() => document.querySelector("[data-room=lobby] .unread:not([hidden])")?.textContent === "2");
  },
};
