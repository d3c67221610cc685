// The browsers that the checks are driven in. CHROMIUM and FIREFOX name them.

import puppeteer from "puppeteer-core";

const launchers = {
  chromium: {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
      "--no-proxy-server", "--disable-background-timer-throttling", "--disable-renderer-backgrounding"],
  },
  // By WebDriver BiDi. Puppeteer makes a profile without telemetry and updates.
  firefox: {
    browser: "firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    extraPrefsFirefox: {
      "network.proxy.type": 0, "network.captive-portal-service.enabled": false, "network.connectivity-service.enabled": false,
    },
  },
};

export const browsers = Object.keys(launchers);
// With the events of the network (of which request interception is a part), Chromium sends each message
// of a page's WebSockets on to the checks: thousands a second, which hold the page up.
export const launch = (name, networkEnabled = false, more = {}) =>
  puppeteer.launch({ ...launchers[name], networkEnabled, ...more });
