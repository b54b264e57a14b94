"""Tests for L{egress.console.approvals_view}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.console.approvals_view import TIMES, ApprovalsView, answer_of, notice_of
from egress.model.approval import LONGEST, ApprovalAnswer, InvalidApprovalAnswer

NOW = 1_800_000_000.0


def pending(**values: Any) -> dict[str, Any]:
    """Return a pending approval as a backend lists it."""
    return {
        "id": "3f9c02a17be4",
        "stage": "request",
        "method": "POST",
        "url": "https://upload.test/legacy/",
        "contentLength": 12,
        "client": "192.0.2.15",
        "identity": "ci",
        "ruleId": "releases",
        "reason": "every upload requires approval",
        "decidedBy": "policy p.toml",
        "count": 1,
        "since": NOW - 12,
        "until": NOW + 288,
        "preview": {
            "headers": [["Accept", "*/*"], ["Authorization", "Bearer REDACTED"]],
            "moreHeaders": 0,
            "content": {"type": "application/json", "text": '{"a": "b"}', "truncated": False},
        },
        **values,
    }


def grant(**values: Any) -> dict[str, Any]:
    """Return a grant as a backend lists it."""
    return {
        "id": "7b1c",
        "stage": "request",
        "method": "GET",
        "url": "https://a.test/x",
        "client": "192.0.2.15",
        "identity": None,
        "ruleId": None,
        "until": NOW + 3600,
        "by": "ann",
        "reason": "",
        **values,
    }


def view(*approvals: dict[str, Any], grants: tuple[dict[str, Any], ...] = ()) -> ApprovalsView:
    return ApprovalsView.of({"pending": approvals, "grants": grants}, NOW)


class ViewTests(SynchronousTestCase):
    """The rows."""

    def test_pending(self) -> None:
        (row,) = view(pending()).pending
        self.assertEqual(
            (row.client, row.waiting, row.left, row.is_urgent), ("ci at 192.0.2.15", "12 s", "5 min", False)
        )
        self.assertEqual((row.requests, row.rule), ("", "releases"))
        self.assertEqual(row.headers[1], ("Authorization", "Bearer REDACTED"))
        self.assertEqual((row.content, row.content_note), ('{"a": "b"}', "Content 12 B, application/json"))
        (row,) = view(pending(count=3, until=NOW - 1, identity=None, ruleId=None)).pending
        self.assertEqual((row.requests, row.left, row.is_urgent), ("3 requests", "0.0 s", True))
        self.assertEqual((row.client, row.rule, row.nodes), ("192.0.2.15", "", ""))
        (row,) = view(pending(nodes=["web-1", "web-2"])).pending
        self.assertEqual(row.nodes, "web-1, web-2")

    def test_content(self) -> None:
        """A page says what is not shown, and why: the approver allows it as well."""
        preview = pending()["preview"]
        for content, length, expected in (
            (None, 0, (None, "No content")),
            (None, 100_000, (None, "Content 100 kB, not read: an approval allows any content")),
            (None, None, (None, "Content of unknown length, not read: an approval allows any content")),
            ({"type": "", "text": None, "truncated": False}, 3, (None, "Content 3 B, of unknown type, not text")),
            ({"type": "a/b", "text": "x", "truncated": True}, 9, ("x", "Content 9 B, a/b, only its beginning")),
        ):
            (row,) = view(pending(contentLength=length, preview={**preview, "content": content})).pending
            self.assertEqual((row.content, row.content_note), expected)
        (row,) = view(pending(preview=None)).pending
        self.assertEqual((row.headers, row.content_note), ((), "Content 12 B, not shown because the list is long"))
        (row,) = view(pending(preview={**preview, "moreHeaders": 3})).pending
        self.assertEqual(row.more_headers, "3 other fields")

    def test_grants(self) -> None:
        (row,) = view(grants=(grant(),)).grants
        self.assertEqual(
            (row.left, row.until, row.by, row.reason), ("60 min", "2027-01-15 09:00:00 UTC", "ann", "\u2013")
        )

    def test_version(self) -> None:
        """The version changes with the entries, not with the time."""
        one = view(pending(), grants=(grant(),))
        later = ApprovalsView.of({"pending": [pending()], "grants": [grant()]}, NOW + 10)
        self.assertEqual(one.version, later.version)
        others = [
            view(),
            view(pending(count=2), grants=(grant(),)),
            view(pending()),
            view(grants=(grant(),)),
            view(pending(), grants=(grant(until=NOW + 1),)),
        ]
        self.assertEqual(len({one.version, *(each.version for each in others)}), 6)


class AnswerTests(SynchronousTestCase):
    """The form of a pending approval."""

    def test_answers(self) -> None:
        self.assertEqual(answer_of("once", "", " fine ", "ann"), ApprovalAnswer(True, None, "fine", "ann"))
        self.assertEqual(answer_of("grant", "3600", "", ""), ApprovalAnswer(True, 3600.0))
        self.assertEqual(answer_of("deny", "3600", "no", ""), ApprovalAnswer(False, None, "no"))

    def test_times(self) -> None:
        """The API accepts each time that the page offers."""
        for seconds, _ in TIMES:
            self.assertEqual(answer_of("grant", str(seconds), "", "").seconds, seconds)
        self.assertEqual(TIMES[-1][0], LONGEST)

    def test_invalid(self) -> None:
        for fields in (("", "", "", ""), ("allow", "", "", ""), ("grant", "7", "", ""), ("once", "", "a\nb", "")):
            self.assertRaises(InvalidApprovalAnswer, answer_of, *fields)

    def test_notices(self) -> None:
        for done in ("allowed", "granted", "denied", "gone", "revoked", "no-grant"):
            found = notice_of(done, "3f2a", "2")
            assert found is not None
            self.assertIn("3f2a", found[1])
        self.assertEqual(notice_of("denied", "3f2a", "1"), ("good", "3f2a: 1 request denied."))
        self.assertEqual(notice_of("denied", "3f2a", "x"), ("good", "3f2a: the requests denied."))
        self.assertIsNone(notice_of("other", "3f2a", "1"))


def with_text(text: str) -> dict[str, Any]:
    """Return a pending approval in which every text is the given one."""
    approval = {key: text if isinstance(value, str) else value for key, value in pending(count=2).items()}
    content = {"type": text, "text": text, "truncated": True}
    return {**approval, "preview": {"headers": [[text, text]], "moreHeaders": 1, "content": content}}
