"""HTTP/2 clients of the proxy itself: tunnels in streams, forwarded requests, and HTTP/2 without TLS."""

from __future__ import annotations

import json
from typing import Any

from tests.certificates import TestCA
from tests.integration.base import DENY_CLOSED, IntegrationTestCase, Proxy
from tests.integration.processes import free_port

# Opens tunnels on one connection, and sends requests in them with HTTP/2, HTTP/1.1 or HTTP/2 without TLS.
NODE = """
const fs = require('fs'), http2 = require('http2'), tls = require('tls');
const [proxy, proxyCa, ca, tasks] = process.argv.slice(2).map((text, at) => at === 3 ? JSON.parse(text) : text);
const session = http2.connect(proxy, { ca: fs.readFileSync(proxyCa) });
let left = tasks.length;
function done(task, version, status, text) {
  console.log(JSON.stringify([task.id, version, status, text]));
  if (--left === 0) session.close();
}
function read(task, version, stream, status) {
  let text = '';
  stream.on('data', (data) => { text += data; });
  stream.on('end', () => {
    done(task, version, status(), text);
    if (task.end) task.end();
  });
}
function overHttp2(task, url, version, socket) {
  const inner = http2.connect(url.origin, { createConnection: () => socket });
  const stream = inner.request({ ':method': 'POST', ':path': url.pathname });
  let status;
  stream.on('response', (fields) => { status = fields[':status']; });
  task.end = () => inner.close();
  read(task, version, stream, () => status);
  stream.end(Buffer.alloc(task.size));
}
// Node.js 20 corrupts strings that its HTTP/1.1 client writes to a stream of HTTP/2.
function overHttp1(task, url, socket) {
  const head = `POST ${url.pathname} HTTP/1.1\\r\\nHost: ${url.host}\\r\\nConnection: close\\r\\n`;
  let text = '';
  socket.on('data', (data) => { text += data; });
  socket.on('end', () => {
    done(task, '1.1', Number(text.split(' ')[1]), text.split('\\r\\n\\r\\n')[1]);
    socket.end();
  });
  socket.write(Buffer.from(`${head}Content-Length: ${task.size}\\r\\n\\r\\n`));
  socket.write(Buffer.alloc(task.size));
}
for (const task of tasks) {
  const url = new URL(task.url);
  const credentials = task.user ? { 'proxy-authorization': 'Basic ' + Buffer.from(task.user).toString('base64') } : {};
  if (task.kind === 'forward') {
    const fields = { ':method': 'POST', ':scheme': 'http', ':authority': url.host, ':path': url.pathname };
    const stream = session.request({ ...fields, ...credentials });
    let status;
    stream.on('response', (fields) => { status = fields[':status']; });
    read(task, 'forward', stream, () => status);
    stream.end(Buffer.alloc(task.size));
    continue;
  }
  const stream = session.request({ ':method': 'CONNECT', ':authority': url.host, ...credentials });
  stream.on('error', (error) => console.error(task.id, error.message));
  stream.on('response', (fields) => {
    if (fields[':status'] !== 200) {
      read(task, 'connect', stream, () => fields[':status']);
    } else if (task.kind === 'h2c') {
      overHttp2(task, url, 'h2c', stream);
    } else if (task.kind === 'http') {
      overHttp1(task, url, stream);
    } else {
      const ALPNProtocols = task.kind === 'h2' ? ['h2'] : ['http/1.1'];
      const secure = tls.connect({ socket: stream, servername: url.hostname, ca: fs.readFileSync(ca), ALPNProtocols });
      secure.on('secureConnect', () => {
        if (task.kind === 'h2') overHttp2(task, url, secure.alpnProtocol, secure);
        else overHttp1(task, url, secure);
      });
    }
  });
}
"""


class ListenerTestCase(IntegrationTestCase):
    """A proxy with an C{https} listener."""

    def setUp(self) -> None:
        super().setUp()
        authority = TestCA("Proxies")
        self.ca = authority.write(self.directory, "proxies")
        self.pem = authority.issue("localhost", "127.0.0.1").write_combined(self.directory, "proxy")

    def start(self, *options: str, settings: tuple[str, ...] = ()) -> Proxy:
        """Start a proxy; its URL is that of the C{ssl:} endpoint."""
        port = free_port()
        listen = ":".join(["ssl", str(port), "interface=127.0.0.1", f"privateKey={self.pem}", *settings])
        policy = str(self.write("policy.toml", DENY_CLOSED))
        proxy = self.start_proxy("--policy", policy, "--listen", listen, *options)
        proxy.url = f"https://localhost:{port}"
        return proxy

    def run_node(self, proxy: Proxy, *tasks: dict[str, Any]) -> dict[str, Any]:
        """Run tasks on one connection; return the version, status and content of each."""
        numbered = [{"id": str(number), "size": 0, **task} for number, task in enumerate(tasks)]
        client = str(self.write("client.js", NODE))
        done = self.run_program("node", client, proxy.url, str(self.ca), str(proxy.ca), json.dumps(numbered))
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(lines), len(tasks), done.stdout + done.stderr)
        return {task: rest for task, *rest in lines}


class TunnelTests(ListenerTestCase):
    """Tunnels in the streams of one connection."""

    def test_contents(self) -> None:
        """TLS with both versions of HTTP, HTTP without TLS, and requests without a tunnel."""
        secure, clear = self.origins.https_url("/sink"), self.origins.http_url("/sink")
        kinds = (("h2", secure), ("tls", secure), ("http", clear), ("h2c", clear), ("forward", clear))
        tasks = [{"kind": kind, "url": url, "size": 100_000 * number} for number in range(4) for kind, url in kinds]
        proxy = self.start()
        found = self.run_node(proxy, *tasks)
        versions = {"h2": "h2", "tls": "1.1", "http": "1.1", "h2c": "h2c", "forward": "forward"}
        for number, task in enumerate(tasks):
            version, status, content = found[str(number)]
            self.assertEqual((version, status), (versions[str(task["kind"])], 200))
            self.assertEqual(json.loads(content)["bytes"], task["size"])
        self.assertEqual({record["outcome"] for record in self.records(proxy, len(tasks))}, {"forwarded"})
