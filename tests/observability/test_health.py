"""Tests for L{egress.observability.health}."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from egress.model.errors import AuthorizerUnavailable
from egress.observability.health import Check, Coalesced, NotReady, ops_site, ops_site_of
from egress.observability.metrics import Metrics
from tests.observability.browser import Browser
from tests.observability.records import ALLOWED


class SiteTests(SynchronousTestCase):
    """Base: a site with the checks of a test."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.checks: dict[str, Check] = {}

    def site(self) -> Site:
        return ops_site(self.clock, self.metrics, self.checks)

    def get(self, path: str, method: str = "GET", extra: str = "") -> tuple[int, dict[str, str], bytes]:
        browser = Browser(self.site())
        browser.ask(path, method, extra)
        return browser.answer()


class PageTests(SiteTests):
    """Pages that need no checks."""

    def test_metrics(self) -> None:
        self.metrics.write(ALLOWED)
        status, fields, body = self.get("/metrics")
        self.assertEqual((status, fields["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn(b"egress_decisions_total{", body)

    def test_live(self) -> None:
        status, fields, body = self.get("/health/live?probe=1")
        self.assertEqual((status, fields["content-type"]), (200, "application/json"))
        self.assertEqual(json.loads(body), {"status": "live"})
        self.assertEqual((fields["cache-control"], fields["x-content-type-options"]), ("no-store", "nosniff"))
        self.assertNotIn("twisted", fields["server"])

    def test_head(self) -> None:
        status, fields, body = self.get("/health/live", "HEAD")
        self.assertEqual((status, fields["content-length"], body), (200, "19", b""))

    def test_unknown_path(self) -> None:
        for path in ("/", "/health", "/metrics/", "/health/live/x"):
            with self.subTest(path):
                status, fields, body = self.get(path)
                self.assertEqual((status, fields["content-type"]), (404, "text/plain; charset=utf-8"))
                self.assertIn(b"/metrics, /health/live, /health/ready", body)

    def test_other_methods(self) -> None:
        for method in ("POST", "DELETE", "BREW"):
            with self.subTest(method):
                status, fields, body = self.get("/metrics", method)
                self.assertEqual((status, fields["allow"]), (405, "get, head"))
                self.assertIn(b"Use GET or HEAD", body)

    def test_content_is_discarded(self) -> None:
        browser = Browser(self.site())
        browser.ask("/metrics", "POST", "Content-Length: 10\r\n")
        browser.channel.dataReceived(b"x" * 10)
        self.assertEqual(browser.answer()[0], 405)
        browser.ask("/health/live")
        self.assertEqual(browser.answer()[0], 200)

    def test_idle_connections_are_closed(self) -> None:
        browser = Browser(self.site())
        self.clock.advance(29)
        self.assertTrue(browser.transport.connected)
        self.clock.advance(1)
        self.assertFalse(browser.transport.connected)

    def test_nothing_is_logged(self) -> None:
        site = self.site()
        site.startFactory()
        self.addCleanup(site.stopFactory)
        browser = Browser(site)
        with capturedLogs() as events:
            browser.ask("/health/live", "HEAD")
        self.assertEqual((browser.answer()[0], events), (200, []))


class OtherSourcesTests(SynchronousTestCase):
    """Metrics and checks from another source, which responds later."""

    def setUp(self) -> None:
        self.asked: list[Deferred[Any]] = []

    def browser(self) -> Browser:
        return Browser(ops_site_of(Clock(), Coalesced(self.ask).call, Coalesced(self.ask).call))

    def ask(self) -> Deferred[Any]:
        self.asked.append(Deferred())
        return self.asked[-1]

    def test_delayed_response(self) -> None:
        browser = self.browser()
        browser.ask("/metrics")
        self.assertEqual(browser.transport.value(), b"")
        self.asked[0].callback((b"a 1\n", "text/plain"))
        self.assertEqual((browser.answer()[0], browser.transport.value()), (200, b""))

    def test_failure(self) -> None:
        for path in ("/metrics", "/health/ready"):
            browser = self.browser()
            browser.ask(path)
            self.asked[-1].errback(RuntimeError("the token is hunter2"))
            status, _, body = browser.answer()
            self.assertEqual((status, body), (500, b"The request failed; the log has the details.\n"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_failure_after_the_client_disconnected(self) -> None:
        shared = Coalesced(self.ask)
        for _ in range(2):
            asking = shared.call()
            asking.cancel()
            self.failureResultOf(asking, CancelledError)
        self.asked[0].errback(RuntimeError())
        # The next request starts a new call.
        answer = shared.call()
        self.asked[1].callback("ok")
        self.assertEqual(self.successResultOf(answer), "ok")


class ReadyTests(SiteTests):
    """Readiness runs every check, and reports which one failed and why."""

    def test_ready(self) -> None:
        self.checks = {"authorizer": lambda: succeed(None), "ca": lambda: succeed(None)}
        status, _, body = self.get("/health/ready")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(body), {"status": "ready", "checks": {"authorizer": "ok", "ca": "ok"}})

    def test_notes(self) -> None:
        """A note does not make the proxy less ready."""
        self.checks = {"audit": lambda: succeed("12 records wait"), "ca": lambda: succeed(None)}
        status, _, body = self.get("/health/ready")
        expected = {"status": "ready", "checks": {"audit": "ok: 12 records wait", "ca": "ok"}}
        self.assertEqual((status, json.loads(body)), (200, expected))

    def test_no_checks(self) -> None:
        self.assertEqual(self.get("/health/ready")[0], 200)

    def test_not_ready(self) -> None:
        self.checks = {
            "authorizer": lambda: fail(AuthorizerUnavailable("authz.example refuses connections")),
            "ca": lambda: succeed(None),
        }
        status, _, body = self.get("/health/ready")
        self.assertEqual(status, 503)
        self.assertEqual(
            json.loads(body),
            {"status": "not ready", "checks": {"authorizer": "authz.example refuses connections", "ca": "ok"}},
        )

    def test_not_ready_shows_the_reason(self) -> None:
        """A failed condition is not a defect, so it is shown, and not logged at every probe."""
        self.checks = {"ca": lambda: fail(NotReady("the CA has expired"))}
        status, _, body = self.get("/health/ready")
        self.assertEqual((status, json.loads(body)["checks"]), (503, {"ca": "the CA has expired"}))

    def test_unexpected_failures_are_logged_not_shown(self) -> None:
        def broken() -> Deferred[None]:
            raise RuntimeError("the token is hunter2")

        self.checks = {"authorizer": broken}
        status, _, body = self.get("/health/ready")
        self.assertEqual((status, json.loads(body)["checks"]), (503, {"authorizer": "failed with RuntimeError"}))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_deadline(self) -> None:
        cancelled: list[object] = []
        self.checks = {"authorizer": lambda: Deferred(cancelled.append), "ca": lambda: succeed(None)}
        browser = Browser(self.site())
        browser.ask("/health/ready")
        self.assertEqual(browser.transport.value(), b"")
        self.clock.advance(5)
        status, _, body = browser.answer()
        self.assertEqual(status, 503)
        self.assertEqual(json.loads(body)["checks"], {"authorizer": "no result within 5 seconds", "ca": "ok"})
        self.assertEqual(len(cancelled), 1)

    def test_concurrent_requests_share_one_run(self) -> None:
        running: list[Deferred[None]] = []

        def check() -> Deferred[None]:
            running.append(Deferred())
            return running[-1]

        self.checks = {"authorizer": check}
        site = self.site()
        browsers = [Browser(site) for _ in range(3)]
        for browser in browsers:
            browser.ask("/health/ready")
        self.assertEqual(len(running), 1)
        running[0].callback(None)
        self.assertEqual([browser.answer()[0] for browser in browsers], [200, 200, 200])
        browsers[0].ask("/health/ready")
        self.assertEqual(len(running), 2)

    def test_client_disconnects(self) -> None:
        running: Deferred[None] = Deferred()
        asked: list[None] = []

        def check() -> Deferred[None]:
            asked.append(None)
            return running

        self.checks = {"authorizer": check}
        site = self.site()
        first, second = Browser(site), Browser(site)
        first.ask("/health/ready")
        first.channel.connectionLost(Failure(ConnectionLost()))
        second.ask("/health/ready")
        self.assertEqual(len(asked), 1)
        running.callback(None)
        self.assertEqual(first.transport.value(), b"")
        self.assertEqual(second.answer()[0], 200)
