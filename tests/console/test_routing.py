"""Tests for L{egress.console.routing}; the tests of the site send requests."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.console.page import Html, Page, Route
from egress.console.routing import application
from tests.console.browser import ConsoleBrowser


class ApplicationTests(SynchronousTestCase):
    """The routes of klein."""

    def test_routes(self) -> None:
        def show(visit: Any) -> Html:
            raise AssertionError  # pragma: no cover - the test sends no request

        routes = (Route("GET", "/a/<name>", show), Route("POST", "/a/<name>", show))
        page = Page(name="a", title="A", routes=lambda _: routes)
        found = application([page], ConsoleBrowser().sources, show, show)  # type: ignore[arg-type]
        rules = {(rule.rule, frozenset(rule.methods or ())) for rule in found.url_map.iter_rules()}
        self.assertEqual(
            rules, {("/console/a/<name>", frozenset({"GET", "HEAD"})), ("/console/a/<name>", frozenset({"POST"}))}
        )
