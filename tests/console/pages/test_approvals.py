"""Tests for L{egress.console.pages.approvals}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.admin.api import Unanswered
from egress.console.pages import approvals as module
from egress.model.approval import ApprovalAnswer
from tests.console.browser import NOW, VIEWER, ConsoleBrowser
from tests.console.test_approvals_view import grant, pending, with_text

ATTACK = "<script>alert(1)</script>\"'"
ID = "3f9c02a17be4"
PATH = f"/console/approvals/{ID}"


class ApprovalsTests(SynchronousTestCase):
    """The page, and its forms."""

    def setUp(self) -> None:
        self.browser = ConsoleBrowser()
        self.browser.backend.results |= {"answer": {"resolved": 2, "grant": None}, "revoke": True}

    def open(self, *approvals: Any, grants: tuple[Any, ...] = (), token: str | None = None) -> str:
        """Sign in, and return the page."""
        self.browser.backend.results["listed"] = {"pending": list(approvals), "grants": list(grants)}
        self.browser.sign_in(*([] if token is None else [token]))
        page = self.browser.get("/console/approvals")
        self.assertEqual(page.status, 200)
        return page.body

    def changes(self) -> list[Any]:
        return [call for call in self.browser.backend.calls if call[0] != "listed"]

    def test_pending(self) -> None:
        page = self.open(pending(), grants=(grant(),))
        self.assertIn("<title>(1) Approvals", page)
        self.assertIn('<span class="count" data-count="approvals">1</span>', page)
        text = self.browser.get("/console/approvals").text
        for expected in (
            "POST https://upload.test/legacy/ i 5 min left waiting for 12 s",
            "Client ci at 192.0.2.15 Reason every upload requires approval Rule releases of policy p.toml",
            'Content 12 B, application/json {"a": "b"} Header fields (2)',
            "Authorization Bearer REDACTED",
            "GET https://a.test/x 192.0.2.15",
        ):
            self.assertIn(expected, text)

    def test_empty(self) -> None:
        page = self.open()
        self.assertIn("<title>Approvals", page)
        self.assertIn("No request waits for an approval", page)
        self.assertIn("No grants", page)

    def test_answers(self) -> None:
        self.open(pending())
        for form, answer, done in (
            ({"answer": "once", "by": "ann", "reason": "fine"}, ApprovalAnswer(True, None, "fine", "ann"), "allowed"),
            ({"answer": "grant", "for": "3600"}, ApprovalAnswer(True, 3600.0), "granted"),
            ({"answer": "deny", "reason": "no"}, ApprovalAnswer(False, None, "no"), "denied"),
        ):
            with capturedLogs() as events:
                found = self.browser.post(PATH, form)
            self.assertEqual((found.status, self.changes()[-1]), (303, ("answer", ID, answer)))
            self.assertEqual(found.field("location"), f"/console/approvals?done={done}&id={ID}&n=2")
            self.assertEqual([event["subject"] for event in events if "subject" in event], [ID])
        kinds = [change.kind.value for change in self.browser.backend.changes]
        self.assertEqual(kinds, ["approval-allowed", "grant-added", "approval-denied"])
        self.assertIn("POST https://upload.test/legacy/ of ci: fine", self.browser.backend.changes[0].text)
        self.assertEqual(self.browser.backend.changes[0].actor.address, "127.0.0.1")
        self.assertIn(f"{ID}: 2 requests denied.", self.browser.get(found.field("location") or "").text)

    def test_already_answered(self) -> None:
        """Another approver was faster."""
        self.open()
        self.browser.backend.results["answer"] = {"resolved": 0, "grant": None}
        with capturedLogs() as events:
            found = self.browser.post(PATH, {"answer": "once"})
        self.assertEqual(found.field("location"), f"/console/approvals?done=gone&id={ID}")
        self.assertEqual([event for event in events if "subject" in event], [])
        self.assertEqual(self.browser.backend.changes, [])
        self.assertIn("it was already allowed or denied", self.browser.get(found.field("location") or "").text)

    def test_invalid_answer(self) -> None:
        self.open(pending())
        found = self.browser.post(PATH, {"answer": "grant", "for": "1"})
        self.assertEqual((found.status, self.changes()), (400, []))
        self.assertIn("Choose one of the times.", found.text)

    def test_revoke(self) -> None:
        self.open(grants=(grant(),))
        found = self.browser.post("/console/approvals/grants/7b1c")
        self.assertEqual((found.status, self.changes()), (303, [("revoke", "7b1c")]))
        (change,) = self.browser.backend.changes
        self.assertEqual(change.kind.value, "grant-revoked")
        self.assertEqual(change.text, "grant 7b1c is revoked, GET https://a.test/x of 192.0.2.15")
        self.assertIn("The grant 7b1c is revoked.", self.browser.get(found.field("location") or "").text)
        self.browser.backend.results["revoke"] = False
        found = self.browser.post("/console/approvals/grants/7b1c")
        self.assertIn("There is no grant 7b1c any more.", self.browser.get(found.field("location") or "").text)
        self.browser.backend.results["revoke"] = fail(Unanswered("a worker did not respond"))
        found = self.browser.post("/console/approvals/grants/7b1c")
        self.assertEqual(found.status, 503)
        self.assertIn("A worker did not respond.", found.text)

    def test_viewer(self) -> None:
        """A viewer sees what waits, and cannot change anything."""
        page = self.open(pending(), grants=(grant(),), token=VIEWER)
        self.assertIn("https://upload.test/legacy/", page)
        for button in ("Allow once", "Revoke", 'name="answer"'):
            self.assertNotIn(button, page)
        self.assertEqual(self.browser.post(PATH, {"answer": "once"}).status, 403)
        self.assertEqual(self.browser.post("/console/approvals/grants/7b1c").status, 403)
        self.assertEqual(self.changes(), [])

    def test_form_without_its_token(self) -> None:
        self.open(pending())
        self.assertEqual(self.browser.post(PATH, {"answer": "once", "csrf": "x"}).status, 403)
        self.assertEqual(self.changes(), [])

    def test_escapes(self) -> None:
        page = self.open(with_text(ATTACK), grants=(grant(url=ATTACK, by=ATTACK, reason=ATTACK, id=ATTACK),))
        self.assertNotIn("<script>alert", page)
        self.assertNotIn("'", page.replace("&#39;", ""))
        self.assertIn("alert(1)", page)
        found = self.browser.get("/console/approvals?done=gone&id=%3Cscript%3Ealert(1)%3C/script%3E&n=1")
        self.assertNotIn("<script>alert", found.body)

    def follow(self) -> Any:
        """Open the stream of events."""
        lines = ["GET /console/approvals/events HTTP/1.1", "Host: localhost:9099", "Accept: text/event-stream"]
        cookies = "; ".join(f"{name}={value}" for name, value in self.browser.cookies.items())
        return self.browser.send("\r\n".join([*lines, f"Cookie: {cookies}", "", ""]).encode())

    def test_events_of_many_browsers(self) -> None:
        """Their number is limited, and a stream that ended does not count."""
        self.patch(module, "MAX_FOLLOWERS", 1)
        self.open()
        first = self.follow()
        self.assertIn(b" 503 ", self.follow().value().partition(b"\r\n")[0])
        first.loseConnection()
        self.assertIn(b" 200 ", self.follow().value().partition(b"\r\n")[0])

    def test_events_after_the_session(self) -> None:
        self.open()
        transport = self.follow()
        self.browser.post("/console/sign-out")
        self.browser.clock.pump([0.5] * 4)
        listed = len(self.browser.backend.calls)
        self.browser.clock.pump([0.5] * 4)
        self.assertEqual(len(self.browser.backend.calls), listed)
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"), transport.value())

    def test_events(self) -> None:
        """The page is told when its entries change, and only then."""
        page = self.open(pending())
        transport = self.follow()
        self.browser.clock.pump([0.5] * 6)
        first = transport.value().decode()
        self.assertEqual(first.count("event: approvals"), 1)
        version = first.partition("data: ")[2].partition("\n")[0]
        self.assertIn(f'data-version="{version}"', page)
        transport.clear()
        self.browser.backend.results["listed"]["pending"].append(pending(id="b", until=NOW + 20))
        self.browser.clock.pump([0.5] * 6)
        self.assertEqual(transport.value().decode().count("event: approvals"), 1)
        listed = len(self.browser.backend.calls)
        transport.loseConnection()
        self.browser.clock.pump([0.5] * 6)
        self.assertEqual(len(self.browser.backend.calls), listed)
