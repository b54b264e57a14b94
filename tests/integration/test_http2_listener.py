"""HTTP/2 clients of the proxy itself: tunnels in streams, forwarded requests, and HTTP/2 without TLS."""

from __future__ import annotations

import json
from typing import Any

from tests.certificates import TestCA
from tests.integration.base import ALLOW_ALL, DENY_CLOSED, IntegrationTestCase, Proxy
from tests.integration.processes import free_port
from tests.integration.test_browsers import HERE, QUIET
from tests.integration.test_client_auth import made

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

# Opens three tunnels on one connection with the HTTP/2 of the standard library.
GO = """
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

type tunnel struct {
	io.Reader
	io.WriteCloser
}

func (tunnel) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (tunnel) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (tunnel) SetDeadline(t time.Time) error      { return nil }
func (tunnel) SetReadDeadline(t time.Time) error  { return nil }
func (tunnel) SetWriteDeadline(t time.Time) error { return nil }

func roots(file string) *tls.Config {
	pem, _ := os.ReadFile(file)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

func main() {
	proxy, _ := url.Parse(os.Args[1])
	target, _ := url.Parse(os.Args[4])
	transport := &http.Transport{TLSClientConfig: roots(os.Args[2]), ForceAttemptHTTP2: true}
	for number := 0; number < 3; number++ {
		reader, writer := io.Pipe()
		address := &url.URL{Scheme: "https", Host: proxy.Host}
		connect := &http.Request{Method: "CONNECT", URL: address, Host: target.Host, Body: reader}
		connect.Header = http.Header{}
		answer, err := transport.RoundTrip(connect)
		if err != nil {
			panic(err)
		}
		inner := tls.Client(tunnel{answer.Body, writer}, roots(os.Args[3]))
		request, _ := http.NewRequest("GET", os.Args[4], nil)
		if err := request.Write(inner); err != nil {
			panic(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(inner), request)
		if err != nil {
			panic(err)
		}
		body, _ := io.ReadAll(response.Body)
		fmt.Print(answer.Proto, " ", answer.StatusCode, " ", response.StatusCode, " ", string(body))
		writer.Close()
	}
}
"""


class ListenerTestCase(IntegrationTestCase):
    """A proxy with an C{https} listener."""

    def setUp(self) -> None:
        super().setUp()
        authority = TestCA("Proxies")
        self.ca = authority.write(self.directory, "proxies")
        self.pem = authority.issue("localhost", "127.0.0.1").write_combined(self.directory, "proxy")

    def start(self, *options: str, settings: tuple[str, ...] = (), policy: str = DENY_CLOSED) -> Proxy:
        """Start a proxy; its URL is that of the C{ssl:} endpoint."""
        port = free_port()
        listen = ":".join(["ssl", str(port), "interface=127.0.0.1", f"privateKey={self.pem}", *settings])
        rules = str(self.write("policy.toml", policy))
        proxy = self.start_proxy("--policy", rules, "--listen", listen, *options)
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

    def ports(self, proxy: Proxy, number: int) -> set[str]:
        """Return the ports of the clients in the records: each is one connection to the proxy."""
        return {record["client"].rpartition(":")[2] for record in self.records(proxy, number)}

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
        self.assertEqual({record["outcome"] for record in self.records(proxy, 20)}, {"forwarded"})
        self.assertEqual(len(self.ports(proxy, 20)), 1)

    def test_denials(self) -> None:
        """In a tunnel, and without one; the other streams continue."""
        kinds = (("h2", self.origins.https_url), ("tls", self.origins.https_url), ("forward", self.origins.http_url))
        tasks = [
            {"kind": kind, "url": url(path), "size": 1000} for path in ("/closed/a", "/sink") for kind, url in kinds
        ]
        found = self.run_node(self.start(), *tasks)
        self.assertEqual([found[str(number)][1] for number in range(6)], [403] * 3 + [200] * 3)
        for number in range(3):
            self.assertEqual(json.loads(found[str(number)][2])["reason"], "this path is closed")

    def test_identities(self) -> None:
        """Each stream has its own credentials."""
        names = ("alice", "bob")
        clients = self.write("clients.txt", "".join(made(name, password=f"of {name}")[0] for name in names))
        proxy = self.start(settings=(f"client-auth={clients}",))
        forward = {"kind": "forward", "url": self.origins.http_url("/sink")}
        tunnel = {"kind": "tls", "url": self.origins.https_url("/sink")}
        tasks = [{**kind, "user": f"{name}:of {name}"} for name in names for kind in (forward, tunnel)]
        wrong = [{**kind, "user": "alice:of bob"} for kind in (forward, tunnel)]
        found = self.run_node(proxy, *tasks, *wrong, forward, tunnel)
        self.assertEqual([found[str(number)][1] for number in range(8)], [200] * 4 + [407] * 4)
        expected = [("forwarded", name) for name in names] * 2
        expected += [("client-credentials-rejected", ""), ("client-auth-required", "")] * 2
        records = self.records(proxy, 8)
        self.assertEqual(sorted((one["outcome"], one["identity"] or "") for one in records), sorted(expected))
        self.assertEqual(len(self.ports(proxy, 8)), 1)

    def test_passthrough(self) -> None:
        """The client sees the certificate of the origin, and the bytes of both directions arrive."""
        proxy = self.start("--passthrough", "localhost", policy=ALLOW_ALL)
        proxy.ca = self.origins.ca
        url = self.origins.https_url("/sink")
        found = self.run_node(proxy, *[{"kind": "tls", "url": url, "size": 500_000} for _ in range(5)])
        self.assertEqual({json.loads(content)["bytes"] for _, _, content in found.values()}, {500_000})
        records = self.records(proxy, 5)
        self.assertEqual({(one["stage"], one["outcome"]) for one in records}, {("tunnel", "forwarded")})
        self.assertTrue(all(one["bytesSent"] > 500_000 for one in records))

    def test_go(self) -> None:
        program = str(self.directory / "client")
        built = self.run_program("go", "build", "-o", program, str(self.write("client.go", GO)))
        self.assertEqual(built.returncode, 0, built.stderr)
        proxy = self.start()
        url = self.origins.https_url("/files/hello.txt")
        done = self.run_program(program, proxy.url, str(self.ca), str(proxy.ca), url)
        self.assertEqual(done.stdout, "HTTP/2.0 200 200 hello\n" * 3, done.stderr)
        self.assertEqual(len(self.ports(proxy, 3)), 1)

    def test_chromium(self) -> None:
        """The tunnels to two hosts are on one connection to the proxy."""
        proxy = self.start()
        database = f"sql:{self.directory}/.pki/nssdb"
        (self.directory / ".pki" / "nssdb").mkdir(parents=True)
        for name, ca in (("proxies", self.ca), ("egressproxy", proxy.ca)):
            done = self.run_program("certutil", "-d", database, "-A", "-t", "C,,", "-n", name, "-i", str(ca))
            self.assertEqual(done.returncode, 0, done.stderr)
        options = (*HERE, *QUIET, f"--proxy-server={proxy.url}", "--proxy-bypass-list=<-loopback>")
        urls = [self.origins.https_url("/closed/a", host) for host in ("localhost", "127.0.0.1")]
        page = "data:text/html," + "".join(f"<img src={url}>" for url in urls)
        self.run_program("chromium", *options, "--dump-dom", page, HOME=str(self.directory))
        records = [record for record in proxy.records() if record["url"] in urls]
        self.assertEqual({(one["url"], one["status"]) for one in records}, {(url, 403) for url in urls})
        self.assertEqual(len({record["client"] for record in records}), 1)


class PriorKnowledgeTests(IntegrationTestCase):
    """HTTP/2 without TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.url = self.origins.http_url("/files/hello.txt")
        self.port = free_port()
        listen = f"tcp:{self.port}:interface=127.0.0.1:h2c=yes"
        self.proxy = self.start_proxy(*self.allow_all(), "--listen", listen)

    def test_in_a_tunnel(self) -> None:
        """Each listener accepts it inside CONNECT."""
        wanted = ("-w", "%{http_version} %{http_code}")
        done = self.curl(self.proxy, "--proxytunnel", "--http2-prior-knowledge", *wanted, self.url)
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n2 200"), done.stderr)

    def test_on_a_listener(self) -> None:
        authority, _, path = self.url.removeprefix("http://").partition("/")
        target = f"http://127.0.0.1:{self.port}/{path}"
        done = self.run_program("nghttp", "-v", "-H", f":authority: {authority}", target)
        self.assertIn(":status: 200", done.stdout)
        self.assertIn("hello", done.stdout)
        (record,) = self.records(self.proxy, 1)
        self.assertEqual((record["url"], record["outcome"]), (self.url, "forwarded"))

    def test_not_permitted(self) -> None:
        done = self.run_program("nghttp", f"http://127.0.0.1:{self.proxy.port}/")
        self.assertNotIn("hello", done.stdout)
        self.wait_until(self.proxy.records)
        (record,) = self.records(self.proxy, 1)
        self.assertEqual(record["status"], 505)
