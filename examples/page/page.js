// What the pages of the examples share: a WebSocket that comes back, its state for all to see, and
// a few short names. A page has an element with the id `state`; what others wrote is put into pages
// by `textContent` only.

const BACKOFF_MS = 500, BACKOFF_MAX_MS = 15_000, STABLE_MS = 5_000, CONNECT_MS = 10_000;

export const $ = (id) => document.getElementById(id);

export const element = (tag, className = "", text = "") =>
  Object.assign(document.createElement(tag), { className, textContent: text });

/** What does not show, or changes what is beside it, or encloses it; a mark on no letter, a mark twice, and more than four: the servers let in no name with it (`name.rs`). */
const UNSEEN = /[\p{C}\p{DI}\p{Me}\p{scx=Zinh}\u{13441}\u{13442}\u{16fe4}]|(?![\0-\u27ff]|\p{Emoji})\p{So}/gu;
const PILED = /(?<!\p{L}\p{M}*)\p{M}|(?<=(\p{M})\p{M}*)\1|(?<=\p{M}{4})\p{M}/gu;

/** A name out of what somebody typed; empty if nothing is left. */
export const nameOf = (text) =>
  text.toWellFormed().normalize("NFC").replace(/\p{Z}/gu, " ").replace(UNSEEN, "").replace(PILED, "").normalize("NFC").replace(/ +/g, " ").trim();

/**
 * Keeps a WebSocket to `path` of the page's own server open. All of `on` may be left out:
 * `open()`, `message(data)` with a string or an ArrayBuffer, `lost({ code, reason })` after it was
 * open, and `state(state)`.
 *
 * The link has `state`: "connecting", "open", "retrying", or "refused", by a Close with 1008 or
 * 4000 to 4999, which is not tried again; `send(data)`, false if it is not open and so was not sent;
 * `reconnect()` at once; `close()` for good.
 */
export function connect(path, on = {}) {
  let socket, timer, clock, attempts = 0, openedAt = 0, retryAt = 0;
  const link = { state: "", send, close, reconnect };

  function become(state, reason = "") {
    const changed = link.state !== state;
    link.state = state;
    clearInterval(clock);
    if (state === "retrying") clock = setInterval(() => showState(state, seconds()), 250);
    showState(state, state === "retrying" ? seconds() : reason);
    if (changed) on.state?.(state);
  }
  const seconds = () => `in ${Math.max(1, Math.ceil((retryAt - performance.now()) / 1000))} s`;

  function reconnect() {
    detach();
    become("connecting");
    const own = socket = new WebSocket(location.origin.replace(/^http/, "ws") + path);
    socket.binaryType = "arraybuffer";
    // A server that accepts and says nothing would be waited for without end.
    timer = setTimeout(() => own.close(), CONNECT_MS);
    socket.onopen = () => {
      clearTimeout(timer);
      openedAt = performance.now();
      become("open");
      on.open?.();
    };
    socket.onmessage = (event) => on.message?.(event.data);
    socket.onclose = closed;
  }

  function closed({ code, reason }) {
    clearTimeout(timer);
    const wasOpen = openedAt > 0;
    // A server that accepts and drops at once must not reset the backoff.
    if (wasOpen && performance.now() > openedAt + STABLE_MS) attempts = 0;
    openedAt = 0;
    if (code === 1008 || (code >= 4000 && code <= 4999)) {
      become("refused", reason || `code ${code}`);
    } else {
      // Full jitter: the pages of a restarted server spread over the whole delay.
      const delay = Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** attempts++);
      retryAt = performance.now() + delay;
      timer = setTimeout(reconnect, delay);
      become("retrying");
    }
    if (wasOpen) on.lost?.({ code, reason });
  }

  function send(data) {
    // While it is closing nothing is sent, and the state does not say so yet.
    const open = link.state === "open" && socket.readyState === WebSocket.OPEN;
    if (open) socket.send(data);
    return open;
  }

  /** Forgets the present socket: nothing of it is heard any more. */
  function detach() {
    clearTimeout(timer);
    openedAt = 0;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  function close() {
    removeEventListener("online", online);
    detach();
    become("closed");
  }

  const online = () => { if (link.state === "retrying") reconnect(); };
  addEventListener("online", online);
  // The caller has the link before it hears anything of it.
  queueMicrotask(reconnect);
  return link;
}

/** The pill in the header. Screen readers hear each change once, and not the seconds. */
function showState(state, detail) {
  const pill = $("state");
  const text = state === "refused" ? `refused: ${detail}` : detail ? `${state} ${detail}` : state;
  if (pill.textContent !== text) pill.textContent = text;
  if (pill.dataset.state === state) return;
  const first = pill.dataset.state === undefined;
  pill.dataset.state = state;
  if (!(first || state === "connecting")) announce(state === "retrying" ? "connection lost, retrying" : text);
}

let voice;
/** Has screen readers say it, when they come to it. Not for what comes many times a second. */
export function announce(text) {
  if (!voice) {
    voice = element("p", "unseen");
    voice.role = "status";
    document.body.append(voice);
  }
  voice.textContent = text;
}

/** Clears a canvas, makes it as sharp as the screen, and gives what to draw with, in CSS pixels. */
export function surface(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, scale = devicePixelRatio;
  const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  context.scale(scale, scale);
  return { context, width, height, colour: (name) => style.getPropertyValue(`--${name}`).trim() };
}
