"""A gateway redirects the connections of a network to a transparent listener, with the rules of the documentation."""

from __future__ import annotations

import json
import re
import sys

from tests.certificates import TestCA
from tests.integration.base import DENY_CLOSED, IntegrationTestCase, proxy_environment, twistd
from tests.integration.networks import Gateway
from tests.integration.processes import ROOT, Process, program

PAGE = ROOT / "docs" / "how-to" / "gateway.md"

# The origins of every host: HTTP, HTTPS, and a port with a protocol in which the server sends first.
ORIGIN_PROGRAM = """
import http.server, socket, socketserver, ssl, sys, threading

class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        content = f"hello from {self.headers['Host']}{self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

class Banner(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 ready\\r\\n")

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

class Banners(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
plain, secure, banner = Server(("::", 80), Hello), Server(("::", 443), Hello), Banners(("::", 2525), Banner)
secure.socket = context.wrap_socket(secure.socket, server_side=True)
for server in (secure, banner):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
plain.serve_forever()
"""
POLICY = DENY_CLOSED.replace("[[rules]]", '[[rules]]\naction = "allow"\nports = [2525]\n[[rules]]', 1)
ADDRESS = "203.0.113.10"


class GatewayTests(IntegrationTestCase):
    """Clients behind the gateway have no proxy settings."""

    def setUp(self) -> None:
        super().setUp()
        program("nft")
        program("ip")
        self.networks = Gateway(self.directory)
        self.addCleanup(self.networks.stop)
        ca = TestCA("Origins")
        pem = ca.issue("origin.test", ADDRESS, "2001:db8::10").write_combined(self.directory, "origin")
        enter = self.networks.gateway.prefix
        hosts = self.write("hosts", f"127.0.0.1 localhost\n{ADDRESS} origin.test\n")
        self.networks.gateway.run("mount", "--bind", str(hosts), "/etc/hosts")
        origin = Process(
            [*self.networks.outside.prefix, sys.executable, "-c", ORIGIN_PROGRAM, str(pem)], self.directory, "origin"
        )
        self.addCleanup(origin.stop)
        rules = re.search(r"<!-- gateway.nft -->\n```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        assert rules is not None
        self.networks.gateway.run("nft", "-f", "-", stdin=rules[1])
        self.audit = self.directory / "audit.jsonl"
        proxy = Process(
            [
                *enter,
                *twistd(
                    *("--listen", "tcp6:8081:interface=\\:\\::transparent=yes"),
                    *("--policy", str(self.write("policy.toml", POLICY)), "--opaque-ports", "2525"),
                    *("--allow-address", "203.0.113.0/24,2001:db8::/32", "--allow-ports", "1-65535"),
                    *("--ca-dir", str(self.directory / "ca"), "--audit-log", str(self.audit)),
                    *("--ssl-extra-ca-certs", str(ca.write(self.directory, "origins"))),
                ),
            ],
            self.directory,
            "egressproxy",
            proxy_environment(),
        )
        self.addCleanup(self.stop_cleanly, proxy)
        origin.wait_for("ready")
        proxy.wait_for("[::]:8081")

    def curl(self, *arguments: str) -> str:  # type: ignore[override]
        """Fetch from the client's network; the client has no proxy and resolves names to another address."""
        resolved = ("--resolve", "origin.test:443:192.0.2.99", "--resolve", "origin.test:80:192.0.2.99")
        trust = ("--cacert", str(self.directory / "ca" / "ca.pem"))
        done = self.networks.client.run("curl", "-sS", "--max-time", "20", *resolved, *trust, *arguments, check=False)
        return done.stdout + done.stderr

    def test_clients_without_proxy_settings(self) -> None:
        for url, expected in (
            ("https://origin.test/a", "hello from origin.test/a"),
            ("http://origin.test/a", "hello from origin.test/a"),
            (f"https://{ADDRESS}/a", f"hello from {ADDRESS}/a"),
            (f"http://{ADDRESS}/a", f"hello from {ADDRESS}/a"),
            ("http://[2001:db8::10]/a", "hello from [2001:db8::10]/a"),
            ("https://[2001:db8::10]/a", "hello from [2001:db8::10]/a"),
        ):
            self.assertEqual(self.curl(url), expected)
        for url in ("https://origin.test/closed/a", "http://origin.test/closed/a"):
            self.assertIn("this path is closed", self.curl(url))
        # The server sends first, on a port that is relayed.
        self.assertIn("220 ready", self.curl(f"telnet://{ADDRESS}:2525"))
        self.assertIn(
            "421", self.curl("-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: other.test", f"https://{ADDRESS}/")
        )
        self.assertIn("transparent=yes", self.curl("http://10.99.0.1:8081/"))
        # UDP is rejected, not dropped.
        sent = self.networks.client.run(
            sys.executable,
            "-c",
            "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(5)\n"
            f"s.connect(('{ADDRESS}', 443)); s.send(b'x')\n"
            "try: s.recv(1)\nexcept OSError as error: print(error)",
        )
        self.assertNotIn("timed out", sent.stdout)
        lines = self.audit.read_text("utf-8").splitlines(keepends=True)
        records = [json.loads(line) for line in lines if line.endswith("\n")]
        self.assertEqual({record["client"].rpartition(":")[0] for record in records}, {"10.99.0.2", "[fd99::2]"})
