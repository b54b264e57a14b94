"""Chromium behind a running proxy: the options in the documentation, by hand and with Playwright."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.base import DENY_CLOSED, IntegrationTestCase, Proxy
from tests.integration.names import NameServer
from tests.integration.peers import ORIGIN
from tests.integration.processes import free_port, node_module, program

# Without these, the browser itself sends requests.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
# As root, a browser needs the first option; the others save time.
HERE = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
PLAYWRIGHT = """
const { chromium } = require(process.argv[1]);
(async () => {
  const [executablePath, server, ...urls] = process.argv.slice(2);
  const browser = await chromium.launch({ executablePath, proxy: { server, bypass: '<-loopback>' } });
  const page = await browser.newPage();
  for (const url of urls) {
    const response = await page.goto(url);
    console.log(JSON.stringify([response.status(), await response.text()]));
  }
  await browser.close();
})();
"""


class BrowserTests(IntegrationTestCase):
    """A browser trusts the CA by the NSS database of its user."""

    def start(self, *options: str, trusting: bool = True) -> Proxy:
        """Start a proxy, and add its CA to the database."""
        proxy = self.start_proxy("--policy", str(self.write("policy.toml", DENY_CLOSED)), *options)
        if trusting:
            database = f"sql:{self.directory}/.pki/nssdb"
            (self.directory / ".pki" / "nssdb").mkdir(parents=True)
            done = self.run_program(
                "certutil", "-d", database, "-A", "-t", "C,,", "-n", "egressproxy", "-i", str(proxy.ca)
            )
            self.assertEqual(done.returncode, 0, done.stderr)
        return proxy

    def chromium(self, proxy: Proxy, url: str, *options: str) -> str:
        """Return the content of a page."""
        return self.chromium_with(url, f"--proxy-server={proxy.url}", *options)

    def chromium_with(self, url: str, *options: str) -> str:
        """Return the content of a page, without a proxy if no option names one."""
        arguments = [*HERE, *QUIET, *options, "--dump-dom", url]
        return self.run_program("chromium", *arguments, HOME=str(self.directory)).stdout

    def requested(self, proxy: Proxy) -> set[str]:
        """Return the paths of the requests that the proxy received."""
        return {record["url"].partition(str(self.origins.https))[2] for record in proxy.records()}

    def test_chromium(self) -> None:
        proxy = self.start()
        loopback = "--proxy-bypass-list=<-loopback>"
        found = self.chromium(proxy, self.origins.https_url("/files/hello.txt"), loopback)
        self.assertIn("hello", found)
        self.assertIn("this path is closed", self.chromium(proxy, self.origins.https_url("/closed/a"), loopback))
        self.assertLessEqual({"/files/hello.txt", "/closed/a"}, self.requested(proxy))

    def test_loopback(self) -> None:
        """Without the option, hosts of this machine are contacted directly, as the documentation warns."""
        proxy = self.start()
        self.chromium(proxy, self.origins.https_url("/files/hello.txt"))
        self.assertNotIn("/files/hello.txt", self.requested(proxy))

    def test_no_trust(self) -> None:
        proxy = self.start(trusting=False)
        found = self.chromium(proxy, self.origins.https_url("/closed/a"), "--proxy-bypass-list=<-loopback>")
        self.assertNotIn("this path is closed", found)
        self.assertIn("client-tls-failed", {record["outcome"] for record in proxy.records()})

    def test_socks(self) -> None:
        """Names are not resolved by the browser, and TLS inside is intercepted."""
        port = free_port()
        proxy = self.start("--listen", f"tcp:{port}:interface=127.0.0.1:socks5=yes")
        options = (f"--proxy-server=socks5://127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>")
        hello, closed = self.origins.https_url("/files/hello.txt"), self.origins.https_url("/closed/a")
        self.assertIn("hello", self.chromium_with(hello, *options))
        self.assertIn("this path is closed", self.chromium_with(closed, *options))
        self.assert_outcomes(proxy, {hello: "forwarded", closed: "denied"})

    def test_automatic_configuration(self) -> None:
        """Chromium reads the file of the proxy itself."""
        names = NameServer({ORIGIN: ["127.0.0.1"]})
        self.addCleanup(names.close)
        port = free_port()
        proxy = self.start("--metrics-port", str(port), "--dns-server", names.address)
        option = f"--proxy-pac-url=http://127.0.0.1:{port}/proxy.pac"
        urls = [self.origins.https_url(path, ORIGIN) for path in ("/files/hello.txt", "/closed/a")]
        self.assertIn("hello", self.chromium_with(urls[0], option))
        self.assertIn("this path is closed", self.chromium_with(urls[1], option))
        self.assert_outcomes(proxy, dict(zip(urls, ("forwarded", "denied"), strict=True)))

    def test_playwright(self) -> None:
        proxy = self.start()
        urls = [self.origins.https_url(path) for path in ("/files/hello.txt", "/closed/a")]
        module = node_module("playwright-core")
        done = self.run_program(
            "node", "-e", PLAYWRIGHT, module, program("chromium"), proxy.url, *urls, HOME=str(self.directory)
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        allowed, denied = (json.loads(line) for line in done.stdout.splitlines())
        self.assertEqual(allowed, [200, "hello\n"])
        self.assert_denied(denied)

    def assert_outcomes(self, proxy: Proxy, expected: dict[str, str]) -> None:
        """Wait for the records of URLs, among others."""
        self.wait_until(lambda: {record["url"] for record in proxy.records()} >= set(expected), "the records")
        found = {record["url"]: record["outcome"] for record in proxy.records()}
        self.assertEqual({url: found[url] for url in expected}, expected)

    def assert_denied(self, response: Any) -> None:
        """Check the response to a denied request: a page for people."""
        status, content = response
        self.assertEqual(status, 403)
        self.assertIn("this path is closed", content)
