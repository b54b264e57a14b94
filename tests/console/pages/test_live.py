"""Tests for L{egress.console.pages.live}."""

from __future__ import annotations

from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from egress.console.live_feed import MAX_VIEWERS, TICK
from egress.console.live_view import ROWS
from egress.store.interfaces import StoreError
from egress.store.sqlite import open_store
from tests.console.browser import COOKIE, HOST, ConsoleBrowser, record
from tests.files import make_directory
from tests.observability.records import ALLOWED

ATTACK = "<script>alert(1)</script>\"'"


class LiveTests(SynchronousTestCase):
    """The table of decisions."""

    def open(self, path: str = "/console/live", **more: object) -> ConsoleBrowser:
        browser = ConsoleBrowser(**more)  # type: ignore[arg-type]
        browser.sign_in()
        return browser

    def test_rows(self) -> None:
        browser = self.open(records=[record(), record(requestId="b", verdict="allow", status=None)])
        page = browser.get("/console/live")
        self.assertEqual(page.status, 200)
        self.assertIn(
            "08:00:00 .000 ✕ deny GET https://api.example/v1?key=[redacted] no-admin 403 1.5 ms 10.0.0.1", page.text
        )
        self.assertIn('href="/console/requests/abc123"', page.body)
        self.assertNotIn("Older decisions", page.text)

    def test_filter(self) -> None:
        browser = self.open(records=[record()])
        self.assertIn("08:00:00", browser.get("/console/live?q=host%3Aapi.example+%22x%22").text)
        given, limit = browser.store.searches[-1]
        self.assertEqual((given.conditions[0].field, given.texts[0].text, limit), ("host", "x", ROWS + 1))

    def test_invalid_filter(self) -> None:
        browser = self.open(records=[record()])
        page = browser.get("/console/live?q=host%3Aa+verdct%3Adeny")
        self.assertIn("Character 8: there is no field verdct: did you mean verdict?", page.text)
        self.assertIn('aria-invalid="true"', page.body)
        self.assertEqual(browser.store.searches, [])

    def test_conditions_on_the_machine(self) -> None:
        """The filter has the fields of the store; a file has no machine and no worker."""
        store = open_store(make_directory(self) / "audit.db")
        self.addCleanup(store.close)
        store.append([ALLOWED])
        browser = self.open(store=store)
        for text in ("node:proxy-1", "-worker:2"):
            page = browser.get(f"/console/live?{urlencode({'q': text})}")
            self.assertEqual(page.status, 200)
            self.assertIn("node: and worker: need an audit store in PostgreSQL", page.text)
        for text, hint in (("nod:a", "did you mean node?"), ("worker:x", "write the number of a worker, as in 2")):
            page = browser.get(f"/console/live?{urlencode({'q': text})}")
            self.assertIn(hint, page.text)
            self.assertIn('aria-invalid="true"', page.body)
        self.assertIn("api.example.com", browser.get("/console/live?q=http:2").text)
        self.assertIn("No decision matches this filter", browser.get("/console/live?q=grpc:a.B").text)

    def test_older(self) -> None:
        browser = self.open(records=[record(requestId=str(number)) for number in range(ROWS + 1)])
        page = browser.get("/console/live?q=host%3Aa")
        self.assertIn("/console/live?q=host%3Aa&amp;before=2027-01-15T08%3A00%3A00.000Z~99", page.body)
        page = browser.get("/console/live?before=2027-01-15T08%3A00%3A00.000Z~99")
        self.assertIn("Newest decisions", page.text)

    def test_empty_states(self) -> None:
        self.assertIn("No decisions yet", self.open().get("/console/live").text)
        self.assertIn("No decision matches this filter", self.open().get("/console/live?q=a").text)
        self.assertIn("--audit-store sqlite:FILE", self.open(has_store=False).get("/console/live").text)

    def test_store_that_cannot_be_read(self) -> None:
        browser = self.open()
        browser.store.error = StoreError("/a.db: disk I/O error")
        page = browser.get("/console/live")
        self.assertEqual(page.status, 200)
        self.assertIn("The audit store cannot be read: /a.db: disk I/O error", page.text)

    def test_events(self) -> None:
        """New records, as events."""
        browser = self.open(records=[record()])
        cookie = f"Cookie: {COOKIE}={browser.cookies[COOKIE]}\r\n"
        head = f"Host: {HOST}\r\n{cookie}\r\n"
        transport = browser.send(f"GET /console/live/events?after=0&q=verdict:deny HTTP/1.1\r\n{head}".encode())
        self.assertIn(b'event: rows\ndata: {"seq": 1, "rows": [{"id": "abc123"', transport.value())
        browser.sessions.end(browser.cookies[COOKIE])
        browser.clock.advance(TICK)
        self.assertIn(b"event: ended\ndata: \n\n", transport.value())

    def test_invalid_events(self) -> None:
        browser = self.open()
        self.assertEqual(browser.get("/console/live/events?q=verdct:deny").status, 400)
        self.assertEqual(self.open(has_store=False).get("/console/live/events").status, 404)

    def test_too_many_streams(self) -> None:
        browser = self.open()
        cookie = f"Cookie: {COOKIE}={browser.cookies[COOKIE]}\r\n"
        head = f"Host: {HOST}\r\n{cookie}\r\n"
        streams = [browser.send(f"GET /console/live/events HTTP/1.1\r\n{head}".encode()) for _ in range(MAX_VIEWERS)]
        self.assertEqual(browser.get("/console/live/events").status, 503)
        streams[0].loseConnection()
        browser.clock.advance(60)
        self.assertIn(b"200 OK", browser.send(f"GET /console/live/events HTTP/1.1\r\n{head}".encode()).value())

    def test_escapes(self) -> None:
        """No value of a request or of a policy is markup."""
        names = (
            "requestId",
            "client",
            "identity",
            "method",
            "url",
            "verdict",
            "observed",
            "reason",
            "ruleId",
            "decidedBy",
        )
        browser = self.open(records=[record(**{name: ATTACK + name for name in names})])
        for path in ("/console/live", "/console/live?q=%22%3Cscript%3Ealert(1)%3C/script%3E"):
            page = browser.get(path)
            self.assertEqual(page.status, 200)
            self.assertNotIn("<script>alert", page.body)
            self.assertNotIn("'", page.body.replace("&#39;", ""))
            self.assertIn("alert(1)", page.body)
