"""C{/proxy.pac} and C{/ca.pem}, with one process and with workers; Node evaluates the file as a browser does."""

from __future__ import annotations

import json
import urllib.request
from urllib.parse import urlsplit

from egress.model.authority import DEFAULT_PORTS, Authority
from egress.model.no_proxy import Bypass
from tests.integration.base import IntegrationTestCase
from tests.integration.processes import free_port

BYPASS = "corp.test,.sub.test,*x.test,8443.test:8443,10.0.0.0/9,192.0.2.7,2001:db8::/33"

URLS = (
    *("http://origin.test/", "https://origin.test/a?b", "https://ORIGIN.test./", "wss://origin.test/"),
    *("http://corp.test/", "http://a.b.corp.test:81/", "http://notcorp.test/", "http://corp.test.evil.test/"),
    *("http://sub.test/", "http://a.sub.test/", "http://bax.test/", "http://x.test.a/"),
    *("https://8443.test/", "https://8443.test:8443/", "https://user:443@8443.test:8443/", "http://a.8443.test:8443/"),
    *("http://10.0.0.1/", "http://10.127.255.255/", "http://10.128.0.0/", "http://11.0.0.1/", "http://192.0.2.7/"),
    *("http://10.evil.test/", "http://10.0.0.1.evil.test/", "http://192.0.2.70/", "http://[::ffff:10.0.0.1]/"),
    *("http://[2001:db8::1]/", "http://[2001:db8:7fff:1:2:3:4:5]:81/", "http://[2001:db8:8000::]/", "http://[2001::]/"),
)

EVALUATE = """
eval(require("fs").readFileSync(0, "utf8") + ";global.find = FindProxyForURL");
console.log(JSON.stringify(JSON.parse(process.argv[1]).map(
  (url) => find(url, new URL(url.replace(/^ws/, "http")).hostname.replace(/^\\[|\\]$/g, "")))));
"""


class ClientPagesTests(IntegrationTestCase):
    """The pages of the metrics port."""

    def get(self, url: str) -> tuple[str, bytes]:
        """Fetch a page: its media type and its content."""
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.headers["Content-Type"], response.read()

    def find(self, script: bytes, *urls: str) -> list[str]:
        """Evaluate the file for URLs."""
        path = self.directory / "proxy.pac"
        path.write_bytes(script)
        shell = 'node -e "$0" "$1" < "$2"'
        done = self.run_program("sh", "-c", shell, EVALUATE, json.dumps(urls), str(path))
        self.assertEqual(done.returncode, 0, done.stderr)
        found: list[str] = json.loads(done.stdout)
        return found

    def test_pages(self) -> None:
        for workers in ("1", "2"):
            port = free_port()
            with self.subTest(workers=workers):
                proxy = self.start_proxy(*self.allow_all(), "--metrics-port", str(port), "--workers", workers)
                content_type, script = self.get(f"http://localhost:{port}/proxy.pac")
                self.assertEqual(content_type, "application/x-ns-proxy-autoconfig")
                address = f"PROXY 127.0.0.1:{proxy.port}"
                self.assertEqual(self.find(script, "http://a.test/", "http://localhost:3000/"), [address, address])
                self.assertEqual(self.get(f"http://localhost:{port}/ca.pem")[1], proxy.ca.read_bytes())
        script = self.get(f"http://localhost:{port}/proxy.pac?proxy=edge.test:3128&direct={BYPASS}")[1]
        bypass = Bypass.parse(BYPASS)
        expected = []
        for url in URLS:
            parts = urlsplit(url.replace("ws", "http", 1) if url.startswith("ws") else url)
            authority = Authority.parse(parts.netloc.rpartition("@")[2], DEFAULT_PORTS[parts.scheme])
            expected.append("DIRECT" if bypass.matches(authority) else "PROXY edge.test:3128")
        self.assertGreater(expected.count("DIRECT"), 9)
        self.assertEqual(dict(zip(URLS, self.find(script, *URLS), strict=True)), dict(zip(URLS, expected, strict=True)))
