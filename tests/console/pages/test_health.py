"""Tests for L{egress.console.pages.health}."""

from __future__ import annotations

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.observability.history import History, Reading
from tests.console.browser import NOW, ConsoleBrowser


class HealthPageTests(SynchronousTestCase):
    """The page has no script, and its charts have texts."""

    def setUp(self) -> None:
        self.history = History()
        self.checks = {"ca": "ok", "running": "ok"}
        self.browser = ConsoleBrowser(history=self.history, checks=lambda: succeed(self.checks))
        self.browser.sign_in()

    def test_new_proxy(self) -> None:
        page = self.browser.get("/console/health")
        self.assertEqual(page.status, 200)
        self.assertIn("Health \u2713 ready", page.text)
        self.assertIn("The proxy has no numbers yet.", page.text)
        self.assertNotIn("<svg", page.body)

    def test_charts(self) -> None:
        self.history.add(Reading({"verdict.allow": 12.0, "verdict.deny": 3.0}, {"connections": 2.0}), NOW)
        page = self.browser.get("/console/health?span=day")
        self.assertIn("Requests, last hour 15", page.text)
        self.assertIn('<title id="requests-title">Requests per 15 min</title>', page.body)
        self.assertIn("Highest: 15 at 08:00 UTC. Last: 15.", page.body)
        self.assertIn("<title>08:00 UTC: allow 12, deny 3, unavailable 0, rejected 0, failed 0</title>", page.body)
        self.assertIn("allow 12 deny 3", page.text)
        self.assertNotIn("style=", page.body)
        self.assertIn("Requests per min", self.browser.get("/console/health?span=other").text)

    def test_not_ready(self) -> None:
        self.checks = {"ca": "the CA certificate expired on 2026-01-01 <b>", "running": "ok"}
        page = self.browser.get("/console/health")
        self.assertIn("Health \u2715 not ready", page.text)
        self.assertIn("CA \u2715 not ready the CA certificate expired on 2026-01-01 <b> Replace the CA", page.text)
        self.assertNotIn("2026-01-01 <b>", page.body)
