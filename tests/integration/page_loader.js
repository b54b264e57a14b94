// Loads pages in one Chromium, for tests/integration/page_loader.py: one page on each line of standard input, what it
// loaded on each line of standard output.  A line is {"proxy": "http://127.0.0.1:8080", "url": "https://..."}.
"use strict";

const crypto = require("node:crypto");
const readline = require("node:readline");
const [playwright, executablePath, ...more] = process.argv.slice(2);
const { chromium } = require(playwright);

const digest = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");

async function load(browser, { proxy, url }) {
  const context = await browser.newContext(proxy ? { proxy: { server: proxy, bypass: "<-loopback>" } } : {});
  try {
    context.setDefaultTimeout(20000);
    const page = await context.newPage();
    const responses = [];
    page.on("response", (response) => responses.push(response));
    // What Playwright does not tell: the protocol of each response, and the handshakes of WebSockets.
    const protocols = {}, handshakes = [];
    const devtools = await context.newCDPSession(page);
    devtools.on("Network.responseReceived", ({ response }) => (protocols[response.url] = response.protocol));
    devtools.on("Network.webSocketHandshakeResponseReceived", ({ response }) => handshakes.push(response.status));
    await devtools.send("Network.enable");
    await page.goto(url, { waitUntil: "load" });
    // The result of the page's own script.
    const result = await page.evaluate("globalThis.result");
    const timing = await page.evaluate(
      () => performance.getEntriesByType("resource").map((one) => [one.name, one.nextHopProtocol, one.responseStatus]),
    );
    const loaded = await Promise.all(
      responses.map(async (response) => ({
        url: response.url(),
        status: response.status(),
        // An element does not read the content of an error.
        digest: response.ok() ? digest(await response.body()) : null,
        protocol: protocols[response.url()],
      })),
    );
    return { result, timing, loaded, handshakes };
  } finally {
    await context.close();
  }
}

(async () => {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", ...more];
  const browser = await chromium.launch({ executablePath, args });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = await load(browser, JSON.parse(line));
    } catch (error) {
      answer = { error: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  await browser.close();
})();
