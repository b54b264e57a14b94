// Drives Chromium for tests/integration/console_browser.py: one command on each line of standard input, one result on
// each line of standard output.  A command is {"on": "page", "call": "click", "arguments": ["text=Pause"]}: a method of
// Playwright, or one of the commands below.
"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const [playwright, axePath, executablePath] = process.argv.slice(2);
const { chromium } = require(playwright);
const axe = fs.readFileSync(axePath, "utf-8");

let browser, context, page;
let problems = [];

const commands = {
  // Open an empty profile, with the options of Playwright's browser.newContext().
  async open(options = {}) {
    browser ??= await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
    await context?.close();
    context = await browser.newContext(options);
    context.setDefaultTimeout(20000);
    page = await context.newPage();
    problems = [];
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("console", (message) => message.type() === "error" && problems.push(`${message.text()} ${message.location().url}`));
    // A stream of events ends with its page.
    page.on("requestfailed", (request) => request.resourceType() === "eventsource" || problems.push(`${request.url()} ${request.failure()?.errorText}`));
  },
  // Wait until an expression is true.  Playwright's waitForFunction() needs eval(), which the console forbids.
  async until(expression) {
    for (const end = Date.now() + 20000; Date.now() < end; await new Promise((done) => setTimeout(done, 20))) {
      if (await page.evaluate(expression)) return;
    }
    throw new Error(`waited in vain: ${expression}\n${await page.innerText("main")}`);
  },
  // The errors of scripts and of requests since the last call.
  async problems() {
    return problems.splice(0);
  },
  // The violations that axe-core finds, and whether the page is wider than the window.
  async audit() {
    await page.evaluate(axe);
    const found = await page.evaluate(async () => {
      const { violations } = await globalThis.axe.run({ resultTypes: ["violations"] });
      const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
      return [
        ...violations.map((each) => `${each.id}: ${each.help}: ${each.nodes.map((node) => node.html).join(" ")}`),
        ...(wide ? [`the page scrolls sideways: ${document.documentElement.scrollWidth} px`] : []),
      ];
    });
    return found;
  },
};

async function run({ on, call, arguments: given }) {
  if (on === "driver") return commands[call](...given);
  const target = { page, context, keyboard: page.keyboard }[on];
  const result = await target[call](...given);
  if (result && typeof result.status === "function") return result.status();
  return Buffer.isBuffer(result) || (result && result.constructor?.name === "Frame") ? null : result;
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = { result: (await run(JSON.parse(line))) ?? null };
    } catch (error) {
      answer = { error: String(error) };
    }
    let text;
    try {
      text = JSON.stringify(answer);
    } catch {
      text = JSON.stringify({ result: null });
    }
    process.stdout.write(`${text}\n`);
  }
  await browser?.close();
})();
