"""Tests for L{egress.console.pages.destinations}, with a store in SQLite."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.console.destinations_view import ROWS
from egress.store.destinations import Page, Paths
from egress.store.interfaces import StoreError
from egress.store.sqlite import open_store
from tests.console.browser import NOW, ConsoleBrowser
from tests.files import make_directory
from tests.observability.records import ALLOWED

ATTACK = "<script>alert(1)</script>"


class DestinationsPageTests(SynchronousTestCase):
    """The list, and the paths of a host."""

    def setUp(self) -> None:
        self.store = open_store(make_directory(self) / "audit.db")
        self.addCleanup(self.store.close)
        self.browser = ConsoleBrowser(store=self.store)
        self.browser.sign_in()
        self.number = 0

    def add(self, host: str, path: str = "/v1/items", ago: float = 60.0, **fields: Any) -> None:
        self.number += 1
        record = attrs.evolve(
            ALLOWED, request_id=f"r{self.number}", time=NOW - ago, url=f"https://{host}{path}", **fields
        )
        self.store.append([record])
        self.store.roll_up(NOW)

    def text(self, path: str) -> str:
        page = self.browser.get(path)
        self.assertEqual(page.status, 200)
        return page.text

    def test_list(self) -> None:
        self.add("old.test", ago=90_000.0)
        self.add("old.test", duration=0.02)
        self.add("new.test", verdict="deny", outcome="denied")
        page = self.browser.get("/console/destinations?sort=host")
        self.assertIn("2 destinations 2 requests", page.text)
        self.assertIn("new.test i new 1 1 denied requests of new.test 0", page.text)
        self.assertIn("old.test 1 0 0", page.text)
        self.assertIn('href="/console/destinations/new.test"', page.body)
        self.assertIn('aria-sort="ascending"', page.body)
        self.assertIn("1 destination 1 request", self.text("/console/destinations?new=1"))
        self.assertIn("2 destinations 3 requests", self.text("/console/destinations?range=all"))
        self.assertIn("1 destination 1 request", self.text("/console/destinations?q=verdict%3Adeny"))

    def test_pages(self) -> None:
        for number in range(ROWS + 1):
            self.add(f"h{number:03}.test")
        page = self.browser.get("/console/destinations?sort=host")
        self.assertNotIn("h100.test", page.text)
        self.assertIn('href="/console/destinations?sort=host&amp;page=2" rel="next"', page.body)
        page = self.browser.get("/console/destinations?sort=host&page=2")
        self.assertIn("h100.test", page.text)
        self.assertNotIn('rel="next"', page.body)

    def test_escaped(self) -> None:
        """No name or path of a request becomes part of a page."""
        self.add(f"{ATTACK}.test", f"/{ATTACK}")
        page = self.browser.get("/console/destinations")
        self.assertNotIn(ATTACK, page.body)
        # A host has no slash.
        self.assertIn("<script>alert(1)<", page.text)
        self.add("x.test", f"/{ATTACK}/%3Cimg%20src=x%3E")
        page = self.browser.get("/console/destinations/x.test")
        self.assertNotIn("<script>alert", page.body)
        page = self.browser.get("/console/destinations/%3Cscript%3E?q=%22%3Cscript%3Ealert(1)%22")
        self.assertNotIn("<script>", page.body)

    def test_host(self) -> None:
        self.add("api.test", "/users/1")
        self.add("api.test", "/users/2", verdict="deny", outcome="denied")
        self.add("other.test", "/other")
        page = self.browser.get("/console/destinations/api.test")
        self.assertIn("api.test · egressproxy", page.text)
        self.assertIn("Requests 2 Denied 1", page.text)
        self.assertIn("POST /users/* 2 1", page.text)
        self.assertNotIn("/other", page.text)
        self.assertIn('href="/console/live?q=host%3Aapi.test"', page.body)
        self.assertIn("Requests 1", self.text("/console/destinations/api.test?q=verdict%3Adeny"))
        self.assertIn("No requests to this destination", self.text("/console/destinations/none.test"))

    def test_empty(self) -> None:
        for query, expected in (
            ("", "No requests in this time"),
            ("?range=all", "No destinations yet"),
            ("?new=1", "No new destinations"),
            ("?q=host%3Ax", "No destination matches this filter"),
            ("?page=7", "No destination matches this filter"),
            ("?q=hst%3Ax", "there is no field hst: did you mean host?"),
        ):
            with self.subTest(query):
                self.assertIn(expected, self.text(f"/console/destinations{query}"))
        self.assertIn("there is no field hst", self.text("/console/destinations/a?q=hst%3Ax"))

    def test_no_store(self) -> None:
        browser = ConsoleBrowser(has_store=False)
        browser.sign_in()
        self.assertIn("The proxy has no audit store", browser.get("/console/destinations").text)
        self.assertEqual(browser.get("/console/destinations/a").status, 404)

    def test_broken_store(self) -> None:
        def broken(*_: Any) -> Paths:
            raise StoreError("audit.db: disk I/O error")

        self.patch(type(self.store), "destinations", broken)
        for path in ("/console/destinations", "/console/destinations/a"):
            self.assertIn("The audit store cannot be read: audit.db: disk I/O error", self.text(path))

    def test_limited(self) -> None:
        self.add("a.test")
        found = self.store.destinations

        def limited(given: Any, page: Page, now: float) -> Any:
            return attrs.evolve(found(given, page, now), limited=True)

        self.patch(self.store, "destinations", limited)
        self.assertIn("Only the newest 50 000 requests were searched", self.text("/console/destinations"))
