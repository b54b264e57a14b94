"""Tests for L{egress.admin.api}."""

from __future__ import annotations

import json
import time
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.admin.api import MAX_CONNECTIONS, Unanswered, admin_site
from egress.model.approval import ApprovalAnswer
from egress.model.change import Change, ChangeKind
from egress.model.explanation import MAX_BODY, ExplainRequest
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from tests.observability.browser import Browser

JSON = "Content-Type: application/json\r\n"
GET = b'{"method": "GET", "url": "http://a.test/"}'
LISTING = {
    "pending": [{"id": "abc", "method": "POST", "url": "http://a.test/", "client": "10.0.0.1", "identity": "ci"}],
    "grants": [{"id": "abc", "method": "GET", "url": "http://b.test/", "client": "10.0.0.1", "identity": None}],
}


class FakeBackend:
    """Records its calls, and responds as a test says."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.result: Any = succeed({})
        self.changes: list[Change] = []
        self.listing: Any = None

    def listed(self) -> Any:
        self.asked.append("listed")
        return self.listing or self.result

    def answer(self, held_id: str, answer: ApprovalAnswer) -> Any:
        self.asked.append((held_id, answer))
        return self.result

    def revoke(self, permission_id: str) -> Any:
        self.asked.append(permission_id)
        return self.result

    def revoke_decisions(self, revocation: Revocation) -> Any:
        self.asked.append(revocation)
        return self.result

    def explain(self, question: ExplainRequest) -> Any:
        self.asked.append(question)
        return self.result

    def record(self, change: Change) -> None:
        self.changes.append(change)


class AdminTests(SynchronousTestCase):
    """The operations of the API, and the clients that may use them."""

    def setUp(self) -> None:
        self.backend = FakeBackend()
        self.token: str | None = None

    def browse(self, method: str, path: str, body: bytes = b"", extra: str = JSON) -> Browser:
        browser = Browser(admin_site(Clock(), self.backend, self.token))
        browser.ask(path, method, f"{extra}Content-Length: {len(body)}\r\n")
        for start in range(0, len(body), 65536):
            browser.channel.dataReceived(body[start : start + 65536])
        return browser

    def ask(self, method: str, path: str, body: bytes = b"", extra: str = JSON) -> tuple[int, dict[str, Any]]:
        status, fields, content = self.browse(method, path, body, extra).answer()
        self.assertEqual((fields["content-type"], fields["cache-control"]), ("application/json", "no-store"))
        self.assertNotIn("twisted", fields["server"])
        return status, json.loads(content)

    def refuse(self, status: int, *asked: Any, words: str = "", **more: Any) -> None:
        found, document = self.ask(*asked, **more)
        self.assertEqual((found, list(document)), (status, ["error"]))
        self.assertIn(words, document["error"])
        self.assertEqual(self.backend.asked, [])

    def test_list(self) -> None:
        self.backend.result = succeed({"pending": [], "grants": []})
        self.assertEqual(self.ask("GET", "/approvals"), (200, {"pending": [], "grants": []}))

    def test_answer(self) -> None:
        self.backend.result = succeed({"resolved": 2, "grant": None})
        self.backend.listing = succeed(LISTING)
        found = self.ask("POST", "/approvals/abc", b'{"answer": "deny", "by": "ann"}')
        self.assertEqual(found, (200, {"resolved": 2, "grant": None}))
        self.assertEqual(self.backend.asked, ["listed", ("abc", ApprovalAnswer(False, by="ann"))])
        (change,) = self.backend.changes
        self.assertEqual(
            (change.kind, change.actor.role, change.actor.place), (ChangeKind.APPROVAL_DENIED, "admin", "admin API")
        )
        self.assertEqual(change.text, "ann denies pending approval abc, 2 requests, POST http://a.test/ of ci")

    def test_disconnected_approver(self) -> None:
        """A change is recorded also if its client disconnects before it is made."""
        self.backend.listing, waiting = succeed(LISTING), Deferred[Any]()
        self.backend.result = waiting
        browser = self.browse("POST", "/approvals/abc", b'{"answer": "allow", "for": 60, "reason": "ok"}')
        browser.channel.connectionLost(Failure(ConnectionLost()))
        waiting.callback({"resolved": 1, "grant": None})
        (change,) = self.backend.changes
        self.assertEqual(change.kind, ChangeKind.GRANT_ADDED)
        self.assertIn("1 request, and for 60 seconds, POST http://a.test/ of ci: ok", change.text)

    def test_no_such_pending_approval(self) -> None:
        self.backend.result = succeed({"resolved": 0, "grant": None})
        self.backend.listing = succeed({"pending": [], "grants": []})
        status, document = self.ask("POST", "/approvals/abc", b'{"answer": "allow"}')
        self.assertEqual((status, self.backend.changes), (404, []))
        self.assertIn("no pending approval", document["error"])

    def test_revoke(self) -> None:
        self.backend.listing = succeed(LISTING)
        self.backend.result = succeed(True)
        self.assertEqual(self.ask("DELETE", "/approvals/abc", extra=""), (200, {"revoked": "abc"}))
        (change,) = self.backend.changes
        self.assertEqual(
            (change.kind, change.text),
            (ChangeKind.GRANT_REVOKED, "grant abc is revoked, GET http://b.test/ of 10.0.0.1"),
        )
        self.backend.result = succeed(False)
        self.assertEqual(self.ask("DELETE", "/approvals/abc")[0], 404)
        self.backend.result = fail(Unanswered("one did not hear of it"))
        self.assertEqual(self.ask("DELETE", "/approvals/abc"), (503, {"error": "one did not hear of it"}))

    def test_revoke_decisions(self) -> None:
        self.backend.result = succeed(RevocationCounts(3, 0, 1, 2))
        status, found = self.ask("POST", "/revocations", b'{"kind": "client", "value": "ci", "by": "ann"}')
        (revocation,) = self.backend.asked
        self.assertEqual((revocation.kind, revocation.value), (RevocationKind.CLIENT, "ci"))
        self.assertApproximates(revocation.time, time.time(), 60)
        self.assertEqual(
            (status, found),
            (200, {**revocation.to_json(), "cached": 3, "grants": 0, "tunnels": 1, "requests": 2}),
        )
        (change,) = self.backend.changes
        self.assertEqual((change.kind, change.actor.role), (ChangeKind.DECISIONS_REVOKED, "admin"))
        self.assertEqual(
            change.text, "ann revokes client ci: 3 cached decisions dropped, 1 tunnel and 2 requests ended"
        )
        self.backend.result = fail(Unanswered("a worker did not respond"))
        self.assertEqual(self.ask("POST", "/revocations", b'{"kind": "all"}')[0], 503)

    def test_invalid_revocations(self) -> None:
        self.refuse(400, "POST", "/revocations", b'{"kind": "user"}', words='"kind" must be one of')
        self.refuse(405, "GET", "/revocations", words="use POST")

    def test_explain(self) -> None:
        self.backend.result = succeed({"verdict": "allow"})
        self.assertEqual(self.ask("POST", "/explain", GET), (200, {"verdict": "allow"}))
        self.assertEqual(self.backend.asked, [ExplainRequest("GET", "http://a.test/")])

    def test_unknown_path_or_method(self) -> None:
        self.refuse(404, "GET", "/", words="/approvals/ID")
        self.refuse(404, "GET", "/metrics")
        self.refuse(405, "POST", "/approvals", words="use GET")
        self.refuse(405, "GET", "/approvals/abc", words="use POST, DELETE")
        self.refuse(405, "GET", "/explain")
        self.assertEqual(self.browse("GET", "/explain").answer()[1]["allow"], "post")

    def test_invalid_content(self) -> None:
        for body in (b"", b"{", b"\xff", b"[1]", b'{"answer": "maybe"}', b"[" * 100_000):
            with self.subTest(body[:9]):
                self.refuse(400, "POST", "/approvals/abc", body)
        self.refuse(400, "POST", "/explain", b'{"method": "GET"}', words='"url"')

    def test_content_over_the_limit(self) -> None:
        self.refuse(413, "POST", "/explain", b" " * (2 * MAX_BODY) + GET)

    def test_the_longest_content(self) -> None:
        body = json.dumps({"method": "PUT", "url": "http://a.test/", "body": "x" * MAX_BODY}).encode()
        self.assertEqual(self.ask("POST", "/explain", body)[0], 200)

    def test_requests_of_browsers(self) -> None:
        """No form and no script of another site can use the API."""
        answer = b'{"answer": "allow"}'
        for kind in ("", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"):
            self.refuse(415, "POST", "/approvals/abc", answer, extra=kind)
        self.refuse(415, "POST", "/approvals/abc", answer, extra=JSON + "Content-Type: text/plain\r\n")
        for field in ("Origin: http://evil.test\r\n", "Origin: null\r\n", "Sec-Fetch-Site: same-origin\r\n"):
            self.refuse(403, "POST", "/approvals/abc", answer, extra=JSON + field)
            self.refuse(403, "GET", "/approvals", extra=field)
            self.refuse(403, "DELETE", "/approvals/abc", extra=field)

    def test_a_token(self) -> None:
        self.token = "hunter2"
        right = "Authorization: Bearer hunter2\r\n"
        for extra in ("", "Authorization: Bearer hunter\r\n", "Authorization: Basic hunter2\r\n", right + right):
            self.refuse(401, "GET", "/approvals", extra=extra)
        self.assertEqual(self.browse("GET", "/approvals").answer()[1]["www-authenticate"], "bearer")
        self.assertEqual(self.ask("GET", "/approvals", extra=right)[0], 200)

    def test_content_of_unauthorized_clients_is_discarded(self) -> None:
        """Every process on this machine can send requests without the token."""
        self.token = "hunter2"
        for extra, kept in (("", 0), ("Authorization: Bearer hunter2\r\n", 50_000)):
            browser = Browser(admin_site(Clock(), self.backend, self.token))
            browser.ask("/explain", "POST", f"{JSON}{extra}Content-Length: 100000\r\n")
            browser.channel.dataReceived(b"x" * 50_000)
            self.assertEqual(browser.channel.requests[0].content.tell(), kept)

    def test_connection_limit(self) -> None:
        site: Any = admin_site(Clock(), self.backend, self.token)
        browsers = [Browser(site) for _ in range(MAX_CONNECTIONS)]
        Browser(site).ask("/approvals")
        self.assertEqual(self.backend.asked, ["listed"])
        self.assertNotIn(browsers[0].channel, site.channels)
        self.assertEqual(len(site.channels), MAX_CONNECTIONS)

    def test_slow_connections_do_not_lock_the_administrator_out(self) -> None:
        self.token = "hunter2"
        site: Any = admin_site(Clock(), self.backend, self.token)
        right = "Authorization: Bearer hunter2\r\n"
        first = Browser(site)
        first.ask("/approvals", extra=right)
        for _ in range(3 * MAX_CONNECTIONS):
            Browser(site).channel.dataReceived(b"GET /approvals HTTP/1.1\r\n")
        first.ask("/approvals", extra=right)
        Browser(site).ask("/approvals", extra=right)
        self.assertEqual(self.backend.asked, ["listed"] * 3)
        self.assertEqual(len(site.channels), MAX_CONNECTIONS)

    def test_unexpected_error(self) -> None:
        self.backend.result = fail(RuntimeError("hunter2"))
        status, document = self.ask("GET", "/approvals")
        self.assertEqual((status, document), (500, {"error": "internal error: see the log of the proxy"}))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_client_disconnects(self) -> None:
        """The operation is cancelled, and its error is ignored."""
        given_up: list[object] = []
        for cancel in (given_up.append, lambda asked: asked.callback({}), lambda asked: asked.errback(ValueError())):
            self.backend.result = Deferred(cancel)
            browser = self.browse("POST", "/explain", GET)
            browser.channel.connectionLost(Failure(ConnectionLost()))
            self.assertTrue(self.backend.result.called)
        self.assertEqual(len(given_up), 1)
