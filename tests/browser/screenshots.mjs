// The live page with traffic, at desktop and phone width, for the README.

const SAMPLES = 56; // one a second: most of the chart's minute
const WATCHED = "scores,builds,chat";

/** Runs in a page of its own: a crowd that comes and goes, and four topics that are talked on. */
function makeTraffic() {
  const open = (topic) => new WebSocket(`${location.origin.replace(/^http/, "ws")}/${topic}`);
  const script = {
    scores: ["Kick-off: Reykjavík against Lyon", "12' corner for Lyon", "Goal! Reykjavík 1, Lyon 0", "38' yellow card, Lyon number 6",
      "Half time: Reykjavík 1, Lyon 0", "53' Goal! Reykjavík 1, Lyon 1", "71' Lyon bring on number 19", "88' Goal! Reykjavík 2, Lyon 1"],
    builds: ["main: 412 tests passed in 41 s", '{"job":"docs","status":"ok","seconds":12}', "fuzz: 1,200,000 runs, nothing found", "release 0.4.1 is out"],
    chat: ["anyone watching the match?", "what a goal", "that was offside", "the release is out, by the way"],
  };
  const speakers = Object.fromEntries([...Object.keys(script), "ticks"].map((topic) => [topic, open(topic)]));
  const said = { scores: 0, builds: 0, chat: 0 }, crowd = [];
  const publish = (topic, data) => speakers[topic].readyState === WebSocket.OPEN && speakers[topic].send(data);
  let beat = 0;
  setInterval(() => {
    beat += 1;
    const wanted = 26 + 14 * Math.sin(beat / 70) + 4 * Math.sin(beat / 17);
    if (crowd.length < wanted) crowd.push(open("ticks"));
    else if (beat % 3 === 0) crowd.shift().close();
    const ticks = 1 + 0.8 * Math.sin(beat / 45) + Math.random();
    for (let i = 1; i <= ticks; i++) publish("ticks", `tick ${beat}`);
    for (const [topic, every] of [["scores", 17], ["chat", 29], ["builds", 41]]) {
      if (beat % every === 0) publish(topic, script[topic][said[topic]++ % script[topic].length]);
    }
    if (beat % 131 === 0) publish("builds", new Uint8Array([0x1f, 0x8b, 0x08, 0x00, 0x5e, 0x2a, 0x11, 0x68, 0x00, 0x03]));
  }, 100);
}

/** Writes the two pictures to the files `desktop` and `phone`. */
export async function takeScreenshots(browser, base, { desktop, phone }) {
  const traffic = await (await browser.createBrowserContext()).newPage();
  // A plain answer of the same origin, so that this page has nothing of its own to draw.
  await traffic.goto(`${base}ticks`);
  const page = await (await browser.createBrowserContext()).newPage();
  page.setDefaultTimeout(2 * SAMPLES * 1000);
  await page.setViewport({ width: 1280, height: 800 });
  await page.goto(`${base}#${WATCHED}`);
  await page.waitForSelector("#state[data-state=open]");
  await traffic.evaluate(makeTraffic);
  const replies = ["hello, pushloop", "watching from my phone", "what a match", "nicely done"];
  for (let samples = 2; samples <= SAMPLES; samples += 3) {
    await page.waitForFunction((count) => document.querySelector("#stats").dataset.samples >= count, {}, samples);
    await page.type("#text", replies[samples % replies.length]);
    await page.keyboard.press("Enter");
  }
  for (const [path, width, height] of [[desktop, 1280, 800], [phone, 390, 844]]) {
    await page.setViewport({ width, height });
    await page.waitForFunction((wanted) => {
      const list = document.querySelector("#messages"), chart = document.querySelector("#connections-chart");
      const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 2;
      return innerWidth === wanted && atEnd && chart.width === Math.round(chart.clientWidth * devicePixelRatio);
    }, {}, width);
    await page.screenshot({ path });
  }
  await Promise.all([page.close(), traffic.close()]);
}
