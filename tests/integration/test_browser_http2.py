"""Chromium behind the proxy over HTTP/2: pages with 50 resources and a WebSocket, from origins of both versions."""

from __future__ import annotations

import atexit
import hashlib
import json
import random
import shutil
import tempfile
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.certificates import TestCA
from tests.integration.base import IntegrationTestCase, Proxy
from tests.integration.page_loader import PageLoader, trust_in
from tests.integration.peers import start_nginx
from tests.integration.processes import free_port
from tests.integration.test_messages import MessageOrigin

_NGINX = """
    types {{ text/html html; text/javascript js; text/css css; image/svg+xml svg; application/octet-stream bin; }}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    log_format versions '$server_port $request_uri $server_protocol';
    server {{
        listen 127.0.0.1:{http2} ssl http2;
        listen 127.0.0.1:{http1} ssl;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server-key.pem;
        access_log {directory}/versions.log versions;
        root {directory}/www;
        add_header Access-Control-Allow-Origin *;
        add_header Timing-Allow-Origin *;
        location = /favicon.ico {{ return 204; }}
        location = /socket {{
            proxy_pass http://127.0.0.1:{app};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
"""

# Fetches URLs, and sends messages to a WebSocket, all of them once the connection exists that carries the page.
_PAGE = """<!doctype html><link rel="icon" href="data:,">{tags}<script>
const fetched = async (url) => {{
  const response = await fetch(url);
  return [url, response.status, await response.text()];
}};
const talk = (url) => new Promise((resolve, reject) => {{
  const socket = new WebSocket(url), received = [];
  socket.onopen = () => socket.send("0");
  socket.onerror = () => reject(new Error("the WebSocket failed"));
  socket.onmessage = ({{ data }}) => {{
    received.push(data.length);
    if (received.length === 20) socket.close(1000);
    else socket.send(String(received.length % 10).repeat(1 << received.length - 1));
  }};
  socket.onclose = ({{ code }}) => resolve({{ code, received }});
}});
globalThis.result = Promise.all([talk({socket}), ...{urls}.map(fetched)]).catch(String);
</script>
"""
_TAGS = {
    "js": '<script crossorigin src="{}"></script>',
    "css": '<link crossorigin rel="stylesheet" href="{}">',
    "svg": '<img crossorigin src="{}">',
}


class Decider(BaseHTTPRequestHandler):
    """An authorization service that denies a directory."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Decide."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)  # type: ignore[attr-defined]
        denied = "/closed/" in asked["url"]
        decision = {"allowed": False, "reason": "this directory is closed"} if denied else {"allowed": True}
        content = json.dumps(decision).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@cache
def home() -> Path:
    """Make a home directory for the browser, with the CA of all proxies of this module."""
    found = Path(tempfile.mkdtemp(prefix="egress-browser-"))
    atexit.register(shutil.rmtree, found, True)
    return found


@cache
def browser() -> PageLoader:
    """Start one browser for all tests, once there is a CA."""
    trust_in(home(), home() / "ca" / "ca.pem")
    found = PageLoader(home())
    atexit.register(found.close)
    return found


class BrowserTests(IntegrationTestCase):
    """Each page has 50 resources: 40 of its own origin, of which 8 are denied, and 10 of the other origin."""

    def setUp(self) -> None:
        super().setUp()
        self.directory.chmod(0o755)
        ca = TestCA("CA of the origins")
        ca.issue("localhost").write(self.directory, "server")
        self.trust = ("--ssl-extra-ca-certs", str(ca.write(self.directory, "origins-ca")))
        self.http2, self.http1 = free_port(), free_port()
        self.sockets = MessageOrigin()
        self.addCleanup(self.sockets.stop)
        settings = {"http2": self.http2, "http1": self.http1, "app": self.sockets.port}
        self.www = self.directory / "www"
        self.paths = self.write_resources()
        nginx = start_nginx(self.directory, _NGINX.format(directory=self.directory, **settings), self.http2)
        self.addCleanup(nginx.stop)
        service = ThreadingHTTPServer(("127.0.0.1", 0), Decider)
        self.asked: list[dict[str, Any]] = []
        service.asked = self.asked  # type: ignore[attr-defined]
        threading.Thread(target=service.serve_forever, daemon=True).start()
        self.addCleanup(service.server_close)
        self.addCleanup(service.shutdown)
        self.authz = f"http://127.0.0.1:{service.server_port}"

    def write_resources(self) -> list[str]:
        """Write 32 resources, of 1 to 300,000 bytes.

        @return: the paths of all 40, of which 8 do not exist because no request for them may arrive.
        """
        random_bytes = random.Random(15)
        paths = []
        for number in range(40):
            suffix = ("js", "css", "svg", "bin")[number % 4]
            folder = "closed" if number % 5 == 4 else "open"
            paths.append(f"/{folder}/{number}.{suffix}")
            path = self.www / f"open/{number}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            content = random_bytes.randbytes((1, 5_000, 70_000, 300_000)[number // 4 % 4]).hex()[::2]
            comments = {"js": "//{}", "css": "/*{}*/", "svg": '<svg xmlns="http://www.w3.org/2000/svg"><!--{}--></svg>'}
            path.write_text(comments.get(suffix, "{}").format(content), "ascii")
        return paths

    def write_page(self, own: int, other: int) -> list[str]:
        """Write a page.

        @return: the URLs of its resources.
        """
        urls = [f"https://localhost:{own}{path}" for path in self.paths]
        urls += [f"https://localhost:{other}{path}" for path in self.paths if "/open/" in path][:10]
        tags = "".join(_TAGS[url.rpartition(".")[2]].format(url) for url in urls if not url.endswith(".bin"))
        fetched = json.dumps([url for url in urls if url.endswith(".bin")])
        page = _PAGE.format(tags=tags, urls=fetched, socket=json.dumps(f"wss://localhost:{own}/socket"))
        (self.www / "index.html").write_text(page, "ascii")
        return urls

    def start(self) -> Proxy:
        """Start a proxy with the CA that the browser trusts."""
        own_ca = ("--ca-dir", str(home() / "ca"))
        return self.start_proxy(*self.trust, *own_ca, "--authz-url", self.authz)

    def load(self, proxy: Proxy, port: int) -> dict[str, Any]:
        return browser().load(f"https://localhost:{port}/index.html", proxy.url)

    def digest(self, url: str) -> str:
        """The digest of a resource at the origin."""
        path = self.www / url.split("/", 3)[3]
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def test_an_origin_with_http2(self) -> None:
        """Its WebSocket uses HTTP/1.1 towards the origin."""
        self.check(self.http2, self.http1, "HTTP/2.0")

    def test_an_origin_with_http1(self) -> None:
        self.check(self.http1, self.http2, "HTTP/1.1")

    def check(self, own: int, other: int, version: str) -> None:
        """Load a page, and check what the browser, the proxy, the authorization service and the origin tell about it.

        @param own: the port of its origin.
        @param other: the port of the other origin.
        @param version: the version of HTTP of its origin.
        """
        proxy, urls = self.start(), self.write_page(own, other)
        found = self.load(proxy, own)
        self.check_page(found, urls)
        self.wait_until(lambda: len(self.requests(proxy)) >= 52, "the records")
        self.check_decisions(self.requests(proxy), own, urls)
        self.wait_until(lambda: self.logged(own, "/socket"), "the log of nginx")
        self.assertEqual(self.logged(own, "/socket"), ["HTTP/1.1"])
        self.assertEqual(set(self.logged(own, "/open/")), {version})
        self.assertEqual(self.logged(self.http2, "/closed/") + self.logged(self.http1, "/closed/"), [])
        self.assertEqual(self.sockets.codes, [1000])

    def check_page(self, found: dict[str, Any], urls: list[str]) -> None:
        """Check what the browser received, and what the page sees: all of it over HTTP/2."""
        socket, *fetched = found["result"]
        self.assertEqual(socket, {"code": 1000, "received": [1, *(1 << number for number in range(19))]})
        # Over HTTP/1.1, the status is 101.
        self.assertEqual(found["handshakes"], [200])
        _, *loaded = found["loaded"]
        self.assertEqual({response["protocol"] for response in found["loaded"]}, {"h2"})
        self.assertEqual(len(loaded), 50)
        digests = {url: None if "/closed/" in url else self.digest(url) for url in urls}
        self.assertEqual({response["url"]: response["digest"] for response in loaded}, digests)
        statuses = {url: 403 if "/closed/" in url else 200 for url in urls}
        self.assertEqual({response["url"]: response["status"] for response in loaded}, statuses)
        self.assertEqual(
            {url: (protocol, status) for url, protocol, status in found["timing"]},
            {url: ("h2", status) for url, status in statuses.items()},
        )
        self.assertEqual(
            {url: status for url, status, _ in fetched},
            {url: status for url, status in statuses.items() if url.endswith(".bin")},
        )
        for url, status, text in fetched:
            if status == 403:
                self.assertIn("this directory is closed", text)
            else:
                self.assertEqual(hashlib.sha256(text.encode()).hexdigest(), digests[url])

    def check_decisions(self, records: list[dict[str, Any]], own: int, urls: list[str]) -> None:
        """Check that each request has one decision and one record, and that the WebSocket shares the connection."""
        page, socket = f"https://localhost:{own}/index.html", f"https://localhost:{own}/socket"
        expected = sorted([page, socket, *urls])
        self.assertEqual(sorted(asked["url"] for asked in self.asked), expected)
        self.assertEqual(sorted(record["url"] for record in records), expected)
        self.assertEqual(len({record["requestId"] for record in records}), 52)
        for record in records:
            denied = "/closed/" in record["url"]
            self.assertEqual(record["outcome"], "denied" if denied else "forwarded")
            self.assertEqual(record["status"], {socket: 101}.get(record["url"], 403 if denied else 200))
        self.assertEqual(len({record["client"] for record in records if f":{own}/" in record["url"]}), 1)

    def requests(self, proxy: Proxy) -> list[dict[str, Any]]:
        """The records of requests: Chromium also opens connections that it does not use."""
        return [record for record in proxy.records() if record["stage"] == "request"]

    def logged(self, port: int, prefix: str) -> list[str]:
        """The versions of the requests that nginx received for paths with a prefix."""
        lines = [line.split() for line in (self.directory / "versions.log").read_text().splitlines()]
        return [version for found, path, version in lines if found == str(port) and path.startswith(prefix)]
