"""Tests for L{egress.console.endpoint}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.console.endpoint import AdminEndpointSite, history_path
from egress.store.sqlite import open_store
from tests.console.browser import ADMIN, ConsoleBrowser, FakeBackend
from tests.files import make_directory
from tests.threads import ThreadlessReactor, at_once


class EndpointTests(SynchronousTestCase):
    """The site of a configuration."""

    def setUp(self) -> None:
        at_once(self)
        self.reactor = ThreadlessReactor()

    def make(self, **settings: Any) -> ConsoleBrowser:
        config = ProxyConfig(admin="tcp:9099", admin_token=ADMIN, **settings)
        unused: Any = None
        self.endpoint = AdminEndpointSite(
            self.reactor,
            config,
            FakeBackend(),
            metrics=lambda: (b'egress_decisions_total{verdict="allow"} 1\n', "text/plain"),
            checks=lambda: succeed({}),
            reload=unused,
            authority=unused,
            policies=unused,
            listening=lambda: succeed(()),
            service=lambda *_, **__: unused,
        )
        browser = ConsoleBrowser(config=config)
        browser.site = self.endpoint.site
        browser.sign_in()
        return browser

    def test_history(self) -> None:
        """The Health page has numbers from the start on, and a restart does not lose them."""
        directory = make_directory(self)
        for expected in ("1", "2"):
            browser = self.make(ca_dir=directory)
            self.endpoint.start()
            self.assertIn(f"Requests, last hour {expected}", browser.get("/console/health").text)
            self.endpoint.stop()
            self.assertNotIn("Sampler", str(self.reactor.getDelayedCalls()))

    def test_history_path(self) -> None:
        """Without a directory of its own, a proxy does not store the history."""
        directory = make_directory(self)
        given: Any = {"ca_cert": directory / "ca.pem", "ca_key": directory / "key.pem"}
        self.assertEqual(history_path(ProxyConfig(ca_dir=directory, **given)), directory / "metrics-history.json")
        self.assertIsNone(history_path(ProxyConfig(ca_dir=directory / "none", **given)))

    def test_no_store(self) -> None:
        browser = self.make()
        self.assertIn("The proxy has no audit store", browser.get("/console/live").text)
        self.endpoint.stop()

    def test_store(self) -> None:
        path = Path(self.mktemp()).absolute()
        browser = self.make(audit_store=f"sqlite:{path}")
        self.assertIn("cannot be read", browser.get("/console/live").text)
        open_store(path).close()
        self.assertIn("No decisions yet", browser.get("/console/live").text)
        self.endpoint.stop()
        self.endpoint.stop()
