"""Tests for L{egress.console.site}: the checks of requests, and the pages of errors."""

from __future__ import annotations

import re
from http import HTTPStatus
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.admin.api import MAX_CONNECTIONS
from egress.config.model import ProxyConfig
from egress.console.forms import MAX_FORM
from egress.console.page import Download, Html, Page, Redirect, Refused, Route
from egress.console.sessions import IDLE_SECONDS
from tests.console.browser import ADMIN, COOKIE, HOST, ORIGIN, VIEWER, ConsoleBrowser, record

OWN = ("Origin", ORIGIN)
JUNK = (
    *(
        "%00",
        "..",
        "%2f",
        "%ff",
        "%27%22%3Cx%3E",
        "%C3%28",
        "a" * 300,
        "%F0%9F%98%80",
        "-",
        "1e999",
        "9" * 40,
        "host:",
        "%5C",
    ),
    *(
        "until:9999-99-99",
        "2027-01-15T08:00:00.000Z~x",
        "0001-01-01T00:00:00%2B23:59~",
        "since:0001-01-01",
        "%ED%A0%80",
    ),
)
FORM = ("Content-Type", "application/x-www-form-urlencoded")


class Things:
    """A page of a test."""

    def __init__(self) -> None:
        self.changes: list[Any] = []
        self.result: Any = Html("error.html", {"status": 200, "text": "the page", "sign_in": False})
        self.visits: list[Any] = []
        self.count: Any = None

    def page(self) -> Page:
        def show(visit: Any) -> Any:
            self.visits.append(visit)
            if isinstance(self.result, Exception):
                raise self.result
            return self.result

        def change(visit: Any) -> Any:
            self.changes.append(visit)
            return Redirect("/console/things/one")

        async def later(visit: Any) -> Any:
            return Html("error.html", {"status": 200, "text": await self.result, "sign_in": False})

        routes = (
            Route("GET", "/things/<name>", show),
            Route("POST", "/things/<name>", change),
            Route("GET", "/later", later),
        )
        return Page(name="things", title="Things", order=1, routes=lambda _: routes, count=lambda _: self.count)


class SiteTestCase(SynchronousTestCase):
    """Base: a console with one page."""

    def setUp(self) -> None:
        self.things = Things()
        self.things.count = succeed(3)
        self.browser = ConsoleBrowser(pages=[self.things.page()])


class PageTests(SiteTestCase):
    """Results of routes."""

    def setUp(self) -> None:
        super().setUp()
        self.browser.sign_in()

    def test_page(self) -> None:
        response = self.browser.get("/console/things/one?a=1&a=2")
        self.assertEqual(response.status, 200)
        self.assertIn("the page", response.text)
        (visit,) = self.things.visits
        self.assertEqual(
            (visit.arguments, visit.query, visit.parameter("a")), ({"name": "one"}, {"a": ["1", "2"]}, "2")
        )
        self.assertTrue(visit.may_change)
        self.assertEqual(response.field("content-type"), "text/html; charset=utf-8")
        self.assertEqual(response.field("cache-control"), "no-store")

    def test_navigation(self) -> None:
        page = self.browser.get("/console/things/one").body
        self.assertRegex(page, r'<a href="/console/things" aria-current="page">Things\s*<span class="count"[^>]*>3<')

    def test_count_that_takes_too_long(self) -> None:
        self.things.count = Deferred()
        transport = self.browser.send(
            f"GET /console/things/one HTTP/1.1\r\nHost: {HOST}\r\n"
            f"Cookie: {COOKIE}={self.browser.cookies[COOKIE]}\r\n\r\n".encode()
        )
        self.assertEqual(transport.value(), b"")
        self.browser.clock.advance(1)
        response = self.browser.received(transport)
        self.assertEqual(response.status, 200)
        self.assertNotIn('class="count"', response.body)

    def test_head(self) -> None:
        response = self.browser.request("HEAD", "/console/things/one")
        self.assertEqual((response.status, response.body), (200, ""))
        self.assertEqual(
            response.field("content-length"), str(len(self.browser.get("/console/things/one").body.encode()))
        )

    def test_form(self) -> None:
        response = self.browser.post("/console/things/one", {"x": "é"})
        self.assertEqual((response.status, response.field("location")), (303, "/console/things/one"))
        (visit,) = self.things.changes
        self.assertEqual(visit.field("x"), "é")

    def test_coroutine(self) -> None:
        self.things.result = succeed("a later text")
        self.assertIn("a later text", self.browser.get("/console/later").text)

    def test_download(self) -> None:
        self.things.result = Download(b"pem", "application/x-pem-file", 'a"b.pem')
        response = self.browser.get("/console/things/one")
        self.assertEqual((response.body, response.field("content-type")), ("pem", "application/x-pem-file"))
        self.assertEqual(response.field("content-disposition"), 'attachment; filename="a%22b.pem"')

    def test_refused(self) -> None:
        self.things.result = Refused(HTTPStatus.CONFLICT, "Somebody else changed it <b>.")
        response = self.browser.get("/console/things/one")
        self.assertEqual(response.status, 409)
        self.assertIn("Somebody else changed it <b>.", response.text)

    def test_failures(self) -> None:
        """A failure is logged; the visitor does not see its text."""
        for path, result in (
            ("/console/things/one", ValueError("secret detail")),
            ("/console/later", fail(ValueError("secret detail"))),
            ("/console/things/one", Html("error.html", {"status": 200, "sign_in": False, "missing": 1})),
            ("/console/things/one", Html("missing.html")),
        ):
            self.things.result = result
            with self.subTest(str(result)):
                response = self.browser.get(path)
                self.assertEqual(response.status, 500)
                self.assertNotIn("secret", response.body)
                self.assertIn("The log of the proxy has the details", response.text)
                self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_unknown_paths(self) -> None:
        for path in (
            "/console/",
            "/console/nothing",
            "/console/things",
            "/console/things/",
            "/console//things/one",
            "/console/things/one/",
            "/console/things/one%2Ftwo/..",
            "/console/../../etc/passwd",
            "/console/static/../console.css",
            "/console/static/console.css",
            "/console/static/..%2f..%2fpage.py",
            "/console/%ff",
            "/console/%00",
            "/console/things/one;x=1/y",
        ):
            with self.subTest(path):
                response = self.browser.get(path)
                self.assertIn(response.status, (303,) if path == "/console/" else (404,))
        self.assertEqual(self.things.visits, [])

    def test_methods(self) -> None:
        for method, path, allowed in (
            ("PUT", "/console/things/one", "GET, HEAD, POST"),
            ("DELETE", "/console/sign-in", "GET, HEAD, POST"),
            ("OPTIONS", "/console/live", "GET, HEAD, POST"),
        ):
            with self.subTest(method):
                response = self.browser.request(method, path)
                self.assertEqual((response.status, response.field("allow")), (405, allowed))
        response = self.browser.post("/console/later")
        self.assertEqual((response.status, response.field("allow")), (405, "GET, HEAD"))

    def test_root(self) -> None:
        for path in ("/", "/console", "/console/"):
            response = self.browser.get(path)
            self.assertEqual((response.status, response.field("location")), (303, "/console/live"))

    def test_escapes(self) -> None:
        attack = "<script>alert(1)</script>\"'&"
        self.things.result = Html("error.html", {"status": 200, "text": attack, "sign_in": False})
        page = self.browser.get("/console/things/one").body
        self.assertNotIn("<script>alert", page)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;", page)

    def test_disconnected(self) -> None:
        """The function of a browser that went away is cancelled."""
        cancelled: list[Any] = []
        self.things.result = Deferred(cancelled.append)
        cookie = f"Cookie: {COOKIE}={self.browser.cookies[COOKIE]}\r\n"
        transport = self.browser.send(f"GET /console/later HTTP/1.1\r\nHost: {HOST}\r\n{cookie}\r\n".encode())
        transport.loseConnection()
        self.browser.clock.advance(60)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.flushLoggedErrors(), [])


class StaticTests(SiteTestCase):
    """Static files change their path with their content, and need no session."""

    def test_files(self) -> None:
        page = self.browser.get("/console/sign-in").body
        paths = set(re.findall(r'(?:href|src)="(/console/static/[^"]+)"', page))
        kinds = {path.rpartition(".")[2]: self.browser.get(path) for path in paths}
        self.assertEqual(set(kinds), {"css", "js", "svg"})
        for response in kinds.values():
            self.assertEqual(response.status, 200)
            self.assertIn("immutable", response.field("cache-control") or "")
            self.assertEqual(response.field("x-content-type-options"), "nosniff")
        self.assertEqual(kinds["css"].field("content-type"), "text/css; charset=utf-8")

    def test_no_inline_code(self) -> None:
        """The policy forbids inline code: a page that has some would not work."""
        page = self.browser.get("/console/sign-in").body
        self.assertNotRegex(page, r"(?i)<style|style=|\son[a-z]+=|javascript:|<script(?![^>]*\ssrc=)")


class AttackTests(SiteTestCase):
    """What pages of other sites, viewers, and clients without a session can send."""

    def setUp(self) -> None:
        super().setUp()
        self.browser.sign_in()

    def refused(self, status: int, words: str, response: Any) -> None:
        self.assertEqual(response.status, status)
        self.assertIn(words, response.text)
        self.assertEqual((self.things.changes, self.things.visits), ([], []))
        for name in ("content-security-policy", "x-frame-options", "x-content-type-options"):
            self.assertIsNotNone(response.field(name))

    def test_hosts(self) -> None:
        """DNS rebinding."""
        for host in ("evil.test", "evil.test:9099", "localhost.evil.test", "", None):
            for method, path in (("GET", "/console/things/one"), ("POST", "/console/things/one"), ("GET", "/")):
                with self.subTest((host, method, path)):
                    response = self.browser.request(method, path, host=host, fields=[OWN])
                    self.assertIn(response.status, (400, 421))
                    self.assertEqual((self.things.changes, self.things.visits), ([], []))
        self.refused(421, "--admin-host", self.browser.get("/console/things/one", host="evil.test"))
        response = self.browser.get("/console/things/one", fields=[("Host", "localhost")])
        self.assertEqual(response.status, 421)

    def test_configured_host(self) -> None:
        config = ProxyConfig(admin="tcp:9099", admin_token=ADMIN, admin_hosts=("Proxy.Example",))
        browser = ConsoleBrowser(config=config, pages=[self.things.page()])
        self.assertEqual(browser.get("/console/sign-in", host="proxy.example").status, 200)

    def test_origins(self) -> None:
        for fields in (
            [],
            [("Origin", "http://evil.test")],
            [("Origin", "null")],
            [("Origin", "http://localhost:8000")],
            [OWN, OWN],
            [OWN, ("Sec-Fetch-Site", "cross-site")],
            [OWN, ("Sec-Fetch-Site", "same-site")],
            [("Sec-Fetch-Site", "same-origin")],
        ):
            with self.subTest(fields):
                response = self.browser.post("/console/things/one", fields=fields)
                self.refused(403, "Only a page of the console can send this form", response)

    def test_foreign_reads(self) -> None:
        for destination in ("image", "script", "iframe", "empty"):
            fields = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", destination)]
            self.refused(403, "cannot embed", self.browser.get("/console/things/one", fields=fields))
        fields = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Dest", "document")]
        self.assertEqual(self.browser.get("/console/things/one", fields=fields).status, 200)

    def test_tokens_of_forms(self) -> None:
        other = ConsoleBrowser(pages=[self.things.page()])
        other.sign_in()
        for token in ("", "x", other.csrf, [self.browser.csrf, self.browser.csrf], self.browser.csrf[:-1]):
            with self.subTest(token):
                response = self.browser.post("/console/things/one", {"csrf": token})
                self.refused(403, "not from this session", response)

    def test_kinds_of_forms(self) -> None:
        for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json"):
            self.refused(400, "Send the form", self.browser.post("/console/things/one", kind=kind))
        body = f"csrf={self.browser.csrf}&x=%FF".encode()
        self.refused(400, "not valid", self.browser.request("POST", "/console/things/one", body, fields=[OWN, FORM]))

    def test_viewers(self) -> None:
        viewer = ConsoleBrowser(pages=[self.things.page()])
        viewer.sign_in(VIEWER)
        self.refused(403, "You are signed in as a viewer", viewer.post("/console/things/one"))
        self.assertEqual(viewer.get("/console/things/one").status, 200)
        self.assertFalse(self.things.visits[0].may_change)
        self.assertEqual(viewer.post("/console/sign-out").status, 303)

    def test_no_session(self) -> None:
        for cookies in ({}, {COOKIE: "x"}, {COOKIE: ""}, {"other": "x"}):
            response = self.browser.get("/console/things/one?a=b", cookies=cookies)
            self.assertEqual(response.status, 303)
            self.assertEqual(response.field("location"), "/console/sign-in?next=%2Fconsole%2Fthings%2Fone%3Fa%3Db")
            self.refused(401, "session has ended", self.browser.post("/console/things/one", cookies=cookies))
            events = self.browser.get("/console/things/one", cookies=cookies, fields=[("Accept", "text/event-stream")])
            self.refused(401, "session has ended", events)

    def test_expired_session(self) -> None:
        self.browser.clock.advance(IDLE_SECONDS)
        self.refused(401, "session has ended", self.browser.post("/console/things/one"))

    def test_long_forms(self) -> None:
        response = self.browser.post("/console/things/one", {"x": "y" * MAX_FORM})
        self.refused(413, "longer than", response)
        self.assertEqual(self.browser.post("/console/things/one", {"x": "y" * (MAX_FORM - 1000)}).status, 303)

    def test_content_without_a_session(self) -> None:
        """The content of clients that have not signed in is not stored, except for a sign-in."""
        for path, session, size in (
            ("/console/things/one", "", 0),
            ("/console/things/one", self.browser.cookies[COOKIE], 50_000),
            ("/console/sign-in", "", 0),
        ):
            head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nCookie: {COOKIE}={session}\r\n"
            transport = self.browser.send(f"{head}Content-Length: 100000\r\n\r\n".encode())
            channel: Any = transport.protocol
            channel.dataReceived(b"x" * 50_000)
            self.assertEqual(channel.requests[0].content.tell(), size)

    def test_long_addresses(self) -> None:
        self.refused(400, "longer than", self.browser.get(f"/console/things/one?{'x' * 9_000}"))

    def test_field_injection(self) -> None:
        """Nothing of a request reaches the head of a response."""
        for path in (
            "/console/%0d%0aX-Evil:%201",
            "/console/things/x%0d%0aSet-Cookie:%20a=b",
            "/console/a%0aLocation:b",
        ):
            for response in (self.browser.get(path), self.browser.get(path, cookies={})):
                self.assertEqual(set(response.fields) & {"x-evil", "set-cookie"}, set())
                self.assertNotIn("\n", response.field("location") or "")


class LimitTests(SiteTestCase):
    """The limits of the admin API apply to the console."""

    def test_slow_form(self) -> None:
        """A client that does not finish its form is disconnected."""
        self.browser.sign_in()
        head = (
            f"POST /console/things/one HTTP/1.1\r\nHost: {HOST}\r\nCookie: {COOKIE}={self.browser.cookies[COOKIE]}\r\n"
        )
        transport = self.browser.send(f"{head}Content-Length: 100\r\n\r\ncsrf=".encode())
        self.browser.clock.advance(9)
        self.assertTrue(transport.connected)
        self.browser.clock.advance(2)
        self.browser.clock.advance(30)
        self.assertFalse(transport.connected)
        self.assertEqual(self.things.changes, [])

    def test_connections(self) -> None:
        """Connections without a session make room for others."""
        idle = [self.browser.send(b"") for _ in range(80)]
        self.assertLessEqual(len(self.browser.site.channels), MAX_CONNECTIONS)
        self.assertEqual(self.browser.get("/console/sign-in").status, 200)
        self.assertFalse(idle[0].connected)

    def test_random_requests(self) -> None:
        """No input causes a failure, on any page."""
        random = Random(14)
        browser = ConsoleBrowser([record()])
        browser.sign_in()
        browser.backend.results.update(revoke=False, answer={"resolved": 0, "grant": None})
        names = ("q", "before", "after", "since", "id", "answer", "for", "reason", "code", "next")
        for _ in range(400):
            path = random.choice(("/console/live", "/console/live/events", "/console/requests/", "/console/approvals/"))
            path += "".join(random.choice(JUNK) for _ in range(random.randrange(2)))
            pairs = [f"{random.choice(names)}={random.choice(JUNK)}" for _ in range(random.randrange(4))]
            with self.subTest((path, pairs)):
                target = f"{path}?{'&'.join(pairs)}"
                form = {random.choice(names): random.choice(JUNK)}
                response = browser.get(target) if random.random() < 0.7 else browser.post(target, form)
                self.assertLess(response.status, 500, response.body)
            for channel in [*browser.site.channels]:
                channel.abort()
        self.assertEqual(self.flushLoggedErrors(), [])
