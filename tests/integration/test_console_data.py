"""The Destinations, Health and Setup pages in Chromium, with real traffic."""

from __future__ import annotations

import atexit
import json
import time
from functools import cache
from typing import Any

import attrs

from egress.store.sqlite import open_store
from tests.integration.base import DENY_CLOSED, IntegrationTestCase, Proxy
from tests.integration.console_browser import PHONE, ConsoleChromium
from tests.integration.processes import free_port
from tests.observability.records import ALLOWED

TOKEN = "hunter2-of-the-admin"
WINDOW = {"width": 1280, "height": 800}
ATTACK = "<img src=x onerror=alert(1)>"


@cache
def chromium() -> ConsoleChromium:
    """Start one browser for all tests."""
    browser = ConsoleChromium()
    atexit.register(browser.close)
    return browser


class DataTests(IntegrationTestCase):
    """The numbers of the pages are those of the traffic."""

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()
        self.store = self.directory / "audit.db"
        self.browser = chromium()

    def start(self) -> Proxy:
        proxy = self.start_proxy(
            *("--policy", str(self.write("policy.toml", DENY_CLOSED)), "--admin", f"tcp:{self.port}"),
            *("--admin-token-file", str(self.write("admin-token", TOKEN)), "--audit-store", f"sqlite:{self.store}"),
        )
        self.browser.open(f"http://127.0.0.1:{self.port}", viewport=WINDOW)
        self.browser.sign_in(TOKEN)
        return proxy

    def send(self, proxy: Proxy) -> None:
        """Send three requests that are allowed, and two that are denied."""
        for number in range(3):
            self.fetch(proxy, self.origins.https_url(f"/files/hello.txt?{number}"))
        for number in range(2):
            self.assert_problem(proxy, self.origins.https_url(f"/closed/{number}"), 403, "authz")

    def audit(self, name: str) -> None:
        """Audit the page in light and dark, and on a phone; nothing failed in it."""
        browser = self.browser
        for scheme, size in (("light", WINDOW), ("dark", WINDOW), ("dark", PHONE)):
            browser.page("emulateMedia", {"colorScheme": scheme})
            browser.page("setViewportSize", size)
            self.assertEqual(browser.audit(), [], (name, scheme, size))
        browser.page("emulateMedia", {"colorScheme": "light"})
        browser.page("setViewportSize", WINDOW)
        self.assertEqual(browser.problems(), [])

    def reload_until(self, path: str, text: str) -> None:
        """Load a page until it has a text."""

        def has_text() -> bool:
            self.browser.goto(path)
            return text in self.browser.text()

        self.wait_until(has_text, text)

    def test_pages(self) -> None:
        proxy = self.start()
        self.send(proxy)
        self.destinations()
        self.setup_page(proxy)
        self.health()

    def destinations(self) -> None:
        """Hosts with numbers, and the paths of a host; names of hosts and paths are texts."""
        browser = self.browser
        self.reload_until("/console/destinations", "1 destination 5 requests")
        store = open_store(self.store)
        attack = attrs.evolve(ALLOWED, time=time.time() - 90, url=f"https://{ATTACK}.test/{ATTACK}", request_id="evil")
        old = attrs.evolve(ALLOWED, time=time.time() - 2 * 86400, url="https://old.test/users/17", request_id="old")
        store.append([attack, old])
        store.close()
        browser.goto("/console/destinations?range=7d")
        rows = self.rows("#destinations")
        self.assertEqual([row[0] for row in rows], ["localhost i new", f"{ATTACK}.test i new", "old.test"])
        self.assertEqual(rows[0][1:4], ["5", "2 denied requests of localhost", "0"])
        self.assertTrue(rows[0][6].endswith("ms"), rows[0])
        self.audit("destinations")

        browser.page("click", "thead a:has-text('Destination')")
        browser.page("waitForURL", "**/destinations?range=7d&sort=host")
        self.assertEqual([row[0] for row in self.rows("#destinations")][-1], "old.test")
        browser.page("click", "nav a:has-text('New')")
        browser.page("waitForURL", "**&new=1")
        self.assertNotIn("old.test", browser.text())
        browser.page("fill", "#filter", "host:localhost verdict:deny")
        browser.page("click", "main form button")
        browser.page("waitForURL", "**q=host*")
        self.assertEqual(self.rows("#destinations")[0][1], "2")

        browser.page("click", "tbody a:has-text('localhost')")
        browser.page("waitForURL", "**/destinations/localhost**")
        rows = self.rows("#paths")
        self.assertEqual([row[:3] for row in rows], [["GET", "/files/hello.txt", "3"], ["GET", "/closed/*", "2"]])
        self.audit("destination")
        browser.page("click", "#paths a:has-text('/closed/*')")
        browser.page("waitForURL", "**/live?q=*")
        browser.wait_for("#rows a:has-text('/closed/0')")
        self.assertNotIn("hello.txt", browser.text("#rows"))

        browser.goto(f"/console/destinations/{ATTACK.replace('<', '%3C').replace('>', '%3E')}.test")
        self.assertIn(f"{ATTACK}.test", browser.text("h1"))
        self.assertEqual(browser.page("evaluate", "document.images.length"), 1)
        self.assertEqual(browser.problems(), [])

    def rows(self, table: str) -> list[list[str]]:
        """Return the texts of the cells of a table."""
        script = (
            "[...document.querySelectorAll('%s tbody tr')].map((row) => [...row.cells].map((each) => each.innerText))"
        )
        found = self.browser.page("evaluate", script % table)
        return [[" ".join(str(cell).split()) for cell in row] for row in found]

    def setup_page(self, proxy: Proxy) -> None:
        """The CA is the file, the settings work, and the checks have results."""
        browser = self.browser
        browser.goto("/console/setup")
        script = "fetch('/console/setup/ca.pem').then((response) => response.text())"
        self.assertEqual(browser.page("evaluate", script), proxy.ca.read_text())
        arguments = ("x509", "-in", str(proxy.ca), "-noout", "-fingerprint", "-sha256")
        printed = self.run_program("openssl", *arguments).stdout.strip().partition("=")[2]
        self.assertIn(printed, browser.text())
        self.audit("setup")

        browser.page("click", "nav a:has-text('JSON')")
        browser.page("waitForURL", "**format=json**")
        variables = json.loads(browser.page("innerText", "pre[aria-label=Variables]"))
        self.assertEqual(variables["HTTPS_PROXY"], proxy.url)
        variables["CURL_CA_BUNDLE"] = str(proxy.ca)
        done = self.run_program(
            *("curl", "-sS", self.origins.https_url("/files/hello.txt")),
            **{name: value for name, value in variables.items() if value is not None},
        )
        self.assertIn("hello", done.stdout, done.stderr)

        browser.page("click", "#run-checks")
        browser.wait_for("#results")
        results = {row[0]: row[1] for row in self.rows("#results")}
        self.assertEqual((results["CA"], results["Authorizer"], results["Versions"]), ("\u2713 ok",) * 3)
        self.audit("checks")

    def health(self) -> None:
        """The charts have the requests."""
        browser = self.browser
        self.reload_until("/console/health", "Requests, last hour 6 Denied, last hour 2")
        self.assertIn("Health \u2713 ready", browser.text())
        legend = browser.text("section:has(#requests-head) .legend")
        self.assertIn("allow 4 deny 2", legend)
        bars = "document.querySelectorAll('section:has(#requests-head) .fill').length"
        self.assertGreaterEqual(int(browser.page("evaluate", bars)), 2)
        # A chart is visible: its bars have a size.
        box: Any = browser.page("evaluate", "document.querySelector('.fill.one').getBoundingClientRect().height")
        self.assertGreater(box, 20)
        browser.page("click", "section:has(#requests-head) summary")
        self.assertIn("Time allow deny", browser.text("section:has(#requests-head) table"))
        self.audit("health")
        browser.goto("/console/health?span=day")
        self.assertIn("Requests per 15 min", browser.text())
        self.assertEqual(browser.problems(), [])
