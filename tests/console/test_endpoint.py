"""Tests for L{egress.console.endpoint}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.console.endpoint import AdminEndpointSite
from egress.store.sqlite import open_store
from tests.console.browser import ADMIN, ConsoleBrowser, FakeBackend
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
            metrics=unused,
            checks=unused,
            reload=unused,
            authority=unused,
        )
        browser = ConsoleBrowser(config=config)
        browser.site = self.endpoint.site
        browser.sign_in()
        return browser

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
