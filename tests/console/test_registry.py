"""Tests for L{egress.console.registry}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.page import ROOT
from egress.console.registry import all_pages
from tests.console.browser import ConsoleBrowser


class RegistryTests(SynchronousTestCase):
    """Every module of L{egress.console.pages} is a page."""

    def test_pages(self) -> None:
        pages = all_pages()
        shown = [page for page in pages if page.order is not None]
        self.assertEqual(pages[: len(shown)], tuple(shown))
        self.assertEqual([page.order for page in shown], sorted({page.order or 0 for page in shown}))
        self.assertEqual((shown[0].name, shown[0].path), ("live", f"{ROOT}/live"))

    def test_routes_are_below_the_page(self) -> None:
        """No page serves the paths of another one."""
        sources = ConsoleBrowser().sources
        for page in all_pages():
            for route in page.routes(sources):
                with self.subTest(route.path):
                    self.assertIn(route.method, ("GET", "POST"))
                    self.assertEqual(route.path.split("/")[1], page.name)
            for example in page.examples:
                self.assertTrue(example.startswith(f"/{page.name}"), example)
