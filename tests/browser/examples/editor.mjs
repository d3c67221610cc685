// The editor: what one page types the others have, offline or not, and all texts end the same, the
// server's too. EDITOR_SEED=17 makes the random edits choose as they did in the run that printed 17.

import { randomInt } from "node:crypto";
import { WAIT_MS, assert } from "../../clients/harness.mjs";

const EDITS = 1000;
const seed = Number(process.env.EDITOR_SEED ?? randomInt(2 ** 32));

const value = (page) => page.$eval("#text", (area) => area.value);
const includes = (page, part) => page.waitForFunction((wanted) => document.querySelector("#text").value.includes(wanted), {}, part);
const lacks = (page, part) => page.waitForFunction((unwanted) => !document.querySelector("#text").value.includes(unwanted), {}, part);

async function type(page, text, index) {
  await page.focus("#text");
  await page.$eval("#text", (area, at) => area.setSelectionRange(at, at), index ?? (await value(page)).length);
  await page.keyboard.type(text);
}

/** As a paste or a drop does it: all at once. */
const replace = (page, from, to, text) => page.$eval("#text", (area, ...change) => {
  const [start, end, inserted] = change;
  area.setRangeText(inserted, start, end, "end");
  area.dispatchEvent(new InputEvent("input", { bubbles: true }));
}, from, to, text);

async function rename(page, name) {
  await page.click("#name", { count: 3 });
  await page.keyboard.type(name);
}

async function undo(page, key) {
  await page.focus("#text");
  await page.keyboard.down("Control");
  await page.keyboard.press(key);
  await page.keyboard.up("Control");
}

/** Has a page come back now, and not when its turn has come. */
const hurry = (page) => page.evaluate(() => { dispatchEvent(new Event("online")); });

/** Open again; or it is said why not. */
async function isOpen(page) {
  await page.waitForSelector("#state[data-state=open], #state[data-state=refused]");
  const text = await page.$eval("#state", (state) => state.textContent);
  assert(text === "open", text);
}

/** All pages, and the server as each of them sees it, have one text. */
async function same(pages) {
  const until = Date.now() + WAIT_MS;
  for (;;) {
    const texts = (await Promise.all(pages.map((page) => page.evaluate(async () =>
      [document.querySelector("#text").value, await (await fetch("/text")).text()])))).flat();
    if (texts.every((text) => text === texts[0])) return texts[0];
    assert(Date.now() < until, `texts differ: ${JSON.stringify(texts)}`);
  }
}

/** Edits at random, with pauses for what the others do to come in between. Runs in the page. */
async function edit(seed, count) {
  let state = seed;
  const random = (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
  const pieces = ["a", "b", "ab", " ", "\n", "é", "😀", "😁", "e\u0301", "<i>", "word ", "aaaa", "👩‍👩‍👧"];
  const area = document.querySelector("#text");
  for (let done = 0; done < count; done++) {
    const length = area.value.length, from = random(length + 1), to = Math.min(length, from + random(3) * random(6));
    const text = random(4) === 0 && to > from ? "" : pieces[random(pieces.length)];
    area.setRangeText(text, from, to, "end");
    area.dispatchEvent(new InputEvent("input", { bubbles: true }));
    if (random(100) === 0) document.querySelector(random(3) ? "#undo" : "#redo").click();
    if (random(3) === 0) await new Promise((resolve) => setTimeout(resolve, random(12)));
  }
}

export default {
  intercepts: true,
  offence: "who is there?",

  async act(page, n) {
    await type(page, `[${n}]`);
    return `[${n}]`;
  },
  sees: includes,
  same,

  async checks(story) {
    const { check, pages, wires, stateIs } = story;
    const [one, two, three] = pages;
    await check("text-survives-a-restart", async () => {
      // Each of the acts before, and the server has been killed since.
      const text = await same(pages);
      for (const part of ["[1]", "[2]", "[3]", "[4]", "[5]"]) assert(text.includes(part), `${part} is lost: ${text}`);
    });
    await check("offline-edits-are-merged", async () => {
      await wires[2].cut();
      await stateIs(three, "retrying");
      await three.waitForFunction(() => !document.querySelector("#offline").hidden);
      await type(three, "{offline}", 0);
      await type(one, "{online}", 0);
      await includes(two, "{online}");
      await wires[2].mend();
      await hurry(three);
      const text = await Promise.all(pages.flatMap((page) => [includes(page, "{offline}"), includes(page, "{online}")])).then(() => same(pages));
      assert(text.split("line}").length === 3, `something is there twice: ${text}`);
    });
    await check("edits-without-a-server-are-merged", async () => {
      await story.kill();
      await Promise.all(pages.map((page) => stateIs(page, "retrying")));
      for (const [at, page] of pages.entries()) await type(page, `{dead ${at}}`, 0);
      await story.restart();
      await Promise.all(pages.map(hurry));
      await Promise.all(pages.flatMap((page) => [0, 1, 2].map((at) => includes(page, `{dead ${at}}`))));
      const text = await same(pages);
      assert(text.split("{dead").length === 4 && text.split("{offline}").length === 2, `something is there twice: ${text}`);
    });
    await check("a-newcomer-has-it-all", async () => {
      const page = await story.open();
      await stateIs(page, "open");
      await same(pages);
      await page.close();
      pages.pop();
      await wires.pop().cut();
    });
    await check("undo-is-ones-own", async () => {
      await type(one, "MINE");
      await includes(two, "MINE");
      await type(two, "THEIRS", 0);
      await includes(one, "THEIRS");
      await undo(one, "z");
      await Promise.all(pages.map((page) => lacks(page, "MINE")));
      assert((await same(pages)).startsWith("THEIRS"), "what another wrote is undone");
      await undo(one, "y");
      await Promise.all(pages.map((page) => includes(page, "MINE")));
      assert(await one.$eval("#redo", (button) => button.disabled), "there is more to redo");
      await two.click("#undo");
      await Promise.all(pages.map((page) => lacks(page, "THEIRS")));
    });
    await check("carets-stay-where-they-are-in-the-text", async () => {
      await replace(one, 0, (await value(one)).length, "first line\nsecond line");
      await same(pages);
      await one.$eval("#text", (area) => area.setSelectionRange(11, 17));
      await rename(two, "Bob");
      await type(two, "a new ", 0);
      await includes(one, "a new first");
      const chosen = await one.$eval("#text", (area) => area.value.slice(area.selectionStart, area.selectionEnd));
      assert(chosen === "second", `"${chosen}" is selected`);
      await one.waitForFunction(() => [...document.querySelectorAll("#people button")].some((row) => /Bob.*line 1/.test(row.textContent)));
      await one.waitForFunction(() => [...document.querySelectorAll("#carets .flag")].some((flag) => flag.textContent === "Bob"));
      await two.waitForFunction(() => document.querySelectorAll("#chosen span").length > 0);
    });
    await check("names-and-text-are-no-markup", async () => {
      await rename(two, "<b id=injected>");
      await type(two, "<b id=injected>");
      await includes(one, "<b id=injected>");
      await one.waitForFunction(() => document.querySelector("#people").textContent.includes("<b id=injected>"));
      assert(await one.$("#injected") === null, "it became an element");
    });
    await check("what-does-not-show-is-no-part-of-a-name", async () => {
      await rename(two, "Bo\u200bb  \u202e Jr.");
      await one.waitForFunction(() => document.querySelector("#people").textContent.includes("Bob Jr."));
      await stateIs(two, "open");
    });
    await check("composing-is-not-disturbed", async () => {
      if (!story.browser.wsEndpoint().includes("/devtools/")) return; // Firefox has no way to compose by a script.
      await replace(one, 0, (await value(one)).length, "ab");
      await same(pages);
      await one.focus("#text");
      await one.$eval("#text", (area) => area.setSelectionRange(1, 1));
      const keyboard = await one.createCDPSession();
      await keyboard.send("Input.imeSetComposition", { text: "´", selectionStart: 1, selectionEnd: 1 });
      await includes(two, "a´b");
      await type(two, "<", 0);
      await includes(three, "<a´b");
      await keyboard.send("Input.insertText", { text: "é" });
      await Promise.all(pages.map((page) => includes(page, "<aéb")));
      assert(await same(pages) === "<aéb", "what was composed is not there");
    });
    await check("half-characters-and-control-characters", async () => {
      await replace(one, 0, (await value(one)).length, "x😀y");
      await same(pages);
      await replace(two, 1, 3, "😁");
      assert(await same(pages) === "x😁y", "it is not what was typed");
      await replace(one, 1, 1, "\u0000\r\u0007\u0085");
      assert(await same(pages) === "x\n😁y", "it is not what can be shown");
    });
    await check("who-leaves-is-gone", async () => {
      await wires[2].cut();
      await one.waitForFunction(() => document.querySelectorAll("#people li").length === 2);
      await wires[2].mend();
      await hurry(three);
      await stateIs(three, "open");
      await one.waitForFunction(() => document.querySelectorAll("#people li").length === 3);
    });
    await check("missing-packages-are-named", async () => {
      const page = await story.browser.newPage();
      await page.setRequestInterception(true);
      page.on("request", (request) => request.url().endsWith("/yjs.mjs") ? request.respond({ status: 404, body: "" }) : request.continue());
      await page.goto(wires[0].url);
      await page.waitForFunction(() => /^npm install .* yjs@/.test(document.querySelector("#install").textContent));
      await page.close();
    });
    console.log(`${EDITS} random edits, EDITOR_SEED=${seed}`);
    await check("random-edits-converge", async () => {
      const each = [334, 333, 333].map((count, at) => pages[at].evaluate(edit, seed + at, count));
      // In the middle of it one page is cut off, and then all: they write on.
      await wires[1].cut();
      await stateIs(two, "retrying");
      await wires[1].mend();
      await hurry(two);
      await story.kill();
      await story.restart();
      await Promise.all(pages.map(hurry));
      await Promise.all(each);
      await Promise.all(pages.map(isOpen));
      const text = await same(pages);
      assert(text.length > 0, "nothing is left");
      console.log(`figure random concurrent edits that ended in one text: ${EDITS}, ${text.length} characters`);
    }, 90_000);
  },

  async picture([one, two, three], look) {
    if (look === "light") {
      const text = "Release notes, a draft\n\nThe text that you see is written by three people at once. Each has a caret of their own, " +
        "and sees those of the others where they are, not where they were.\n\n" +
        "  • Offline you go on writing; what was typed meanwhile is merged.\n" +
        "  • Undo takes back what you did, and nothing of anybody else.\n" +
        "  • The server is killed? The pages bring the text back to it.\n\n" +
        "To do: a sentence on limits, and who proofreads this?\n";
      await replace(one, 0, (await value(one)).length, text);
      await same([one, two, three]);
      for (const [page, name] of [[one, "Ada"], [two, "Grace"], [three, "Edsger"]]) await rename(page, name);
    }
    const text = await value(one), at = (part) => text.indexOf(part) + part.length;
    await one.focus("#text");
    await one.$eval("#text", (area) => {
      area.setSelectionRange(22, 22);
      area.scrollTop = 0;
    });
    for (const [page, from, to] of [[two, at("• "), at("Offline you go on writing")], [three, at("Each has a caret"), at("Each has a caret")]]) {
      await page.focus("#text");
      await page.$eval("#text", (area, ...ends) => area.setSelectionRange(0, 0) ?? area.setSelectionRange(...ends), from, to);
    }
    await one.waitForFunction(() => document.querySelectorAll("#carets .caret").length === 2 && document.querySelector("#chosen span"));
    await one.waitForFunction(() => ["line 3", "line 5"].every((line) => document.querySelector("#people").textContent.includes(line)));
  },
};
