// What the scripts in JavaScript share: a server as a process, and checks that print a line each.

import { spawn } from "node:child_process";

export const WAIT_MS = 30_000; // for whatever is waited for

export function bounded(promise, otherwise, ms = WAIT_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${otherwise} within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Prints `ok NAME` or `FAIL NAME: why`; the exit status is 1 if one check failed. */
export async function check(name, run, ms = WAIT_MS) {
  try {
    await bounded(run(), "nothing happened", ms);
    console.log(`ok ${name}`);
  } catch (error) {
    process.exitCode = 1;
    console.log(`FAIL ${name}: ${error.message.replace(/\s+/g, " ").slice(0, 600)}`);
  }
}

export function assert(condition, why) {
  if (!condition) throw new Error(why);
}

/** Starts a server; resolves with its process and the URL, `SCHEME://HOST:PORT`, that it prints. */
export async function start(program, parameters, scheme) {
  const child = spawn(program, parameters, { stdio: ["ignore", "pipe", "pipe"] });
  const pattern = new RegExp(`${scheme}://127\\.0\\.0\\.1:\\d+`);
  const url = new Promise((resolve, reject) => {
    let printed = "";
    const read = (chunk) => {
      printed += chunk;
      const found = printed.match(pattern);
      if (found) resolve(found[0]);
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the server exited with ${code}: ${printed}`)));
  });
  return { child, url: await bounded(url, "the server printed no URL") };
}
