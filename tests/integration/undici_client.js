// Requests of undici, for tests/integration/test_undici.py.  Each line of its output is [name, result].
// Usage: node undici_client.js UNDICI AGENT PROXY CA URL SOCKET: AGENT is a class of undici, or "fetch" for the fetch() of Node.js.
"use strict";

const diagnostics = require("node:diagnostics_channel");
const fs = require("node:fs");
const [path, kind, uri, file, base, socketUrl] = process.argv.slice(2);
const undici = require(path);
const ca = fs.readFileSync(file);
const fetch = kind === "fetch" ? globalThis.fetch : undici.fetch;

// The versions of the connections to origins, inside the tunnels of the proxy.
const versions = new Set();
diagnostics.subscribe("undici:client:connected", ({ connectParams }) => {
  if (connectParams.host !== new URL(uri).host) versions.add(connectParams.version);
});

const dispatcher =
  kind === "EnvHttpProxyAgent"
    ? new undici.EnvHttpProxyAgent({ httpsProxy: uri, allowH2: true, requestTls: { ca, allowH2: true } })
    : new undici.ProxyAgent({ uri, allowH2: true, requestTls: { ca, allowH2: true } });

const print = (...words) => console.log(JSON.stringify(words));

async function post(body, more = {}) {
  const response = await fetch(`${base}/sink`, { method: "POST", body, dispatcher, ...more });
  return [response.status, (await response.json()).bytes];
}

// Content in pieces, without a length.
const pieces = () => new ReadableStream({
  start(controller) {
    for (let number = 0; number < 40; number++) controller.enqueue(new Uint8Array(25_000).fill(number));
    controller.close();
  },
});

async function download() {
  const response = await fetch(`${base}/files/big`, { dispatcher });
  let size = 0;
  for await (const piece of response.body) {
    size += piece.length;
    // The rest is not read.
    if (size > 8_000_000) break;
  }
  return [response.status, size > 8_000_000];
}

async function denied() {
  const response = await fetch(`${base}/closed/door`, { dispatcher, headers: { accept: "application/json" } });
  return [response.status, (await response.json()).reason];
}

const talk = () => new Promise((resolve, reject) => {
  const socket = new undici.WebSocket(socketUrl, { dispatcher });
  const received = [];
  socket.addEventListener("open", () => socket.send("one"));
  socket.addEventListener("error", ({ error }) => reject(error));
  socket.addEventListener("message", ({ data }) => {
    received.push(data.length);
    if (received.length === 1) socket.send("x".repeat(200_000));
    else socket.close(1000, "done");
  });
  socket.addEventListener("close", ({ code }) => resolve([code, received]));
});

(async () => {
  const get = async () => (await fetch(`${base}/files/hello.txt`, { dispatcher })).text();
  print("get", await get());
  print("many", await Promise.all(Array.from({ length: 20 }, get)));
  print("post", await Promise.all(Array.from({ length: 20 }, (_, number) => post(Buffer.alloc(10_000 * number)))));
  print("stream", await post(pieces(), { duplex: "half" }));
  print("download", await download());
  print("denied", await denied());
  const { statusCode, body } = await undici.request(`${base}/sink`, { method: "PUT", body: "12345", dispatcher });
  print("request", [statusCode, (await body.json()).bytes]);
  print("socket", await talk());
  print("versions", [...versions]);
  await dispatcher.destroy();
})();
