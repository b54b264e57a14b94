"""Tests for L{egress.model.approval}."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.approval import LONGEST, ApprovalAnswer, Grant, GrantScope, GrantTimes, InvalidApprovalAnswer
from egress.model.decision import ClientIdentity
from tests.authz.fakes import REQUEST


class AnswerTests(SynchronousTestCase):
    """Approval answers as JSON."""

    def test_parse(self) -> None:
        for document, answer in (
            ({"answer": "allow"}, ApprovalAnswer(True)),
            ({"answer": "deny", "reason": " no ", "by": "ann"}, ApprovalAnswer(False, None, "no", "ann")),
            ({"answer": "allow", "for": 60, "reason": None, "by": None}, ApprovalAnswer(True, 60.0)),
            ({"answer": "allow", "for": LONGEST}, ApprovalAnswer(True, LONGEST)),
        ):
            with self.subTest(document):
                self.assertEqual(ApprovalAnswer.parse(document), answer)
                self.assertEqual(ApprovalAnswer.parse(json.loads(json.dumps(answer.to_json()))), answer)

    def test_who(self) -> None:
        self.assertEqual((ApprovalAnswer(True).who, ApprovalAnswer(True, by="ann").who), ("an approver", "ann"))

    def test_rejected(self) -> None:
        """Invalid documents are rejected."""
        documents: tuple[Any, ...] = (
            None,
            [],
            "allow",
            {},
            {"answer": True},
            {"answer": "Allow"},
            {"answer": "allow", "novel": 1},
            {"answer": "deny", "for": 60},
            *({"answer": "allow", "for": value} for value in (0, -1, True, "60", LONGEST + 1, float("inf"))),
            {"answer": "allow", "for": []},
            *({"answer": "allow", "reason": value} for value in (1, "a\nb", "x" * 501)),
            *({"answer": "allow", "by": value} for value in (1, "a\x1b[0m", "x" * 101)),
        )
        for document in documents:
            with self.subTest(document):
                self.assertTrue(str(self.assertRaises(InvalidApprovalAnswer, ApprovalAnswer.parse, document)))


class GrantTimesTests(SynchronousTestCase):
    """The part of a grant that processes agree on."""

    def test_times(self) -> None:
        scope = GrantScope.of(REQUEST, "r")
        one = Grant("g", scope, 65.0, "ann", "fine", created=5.0, after=("v1", "v2"))
        self.assertEqual(one.times, GrantTimes(5.0, 65.0, ("v1", "v2")))
        self.assertEqual(GrantTimes.from_json(json.loads(json.dumps(one.times.to_json()))), one.times)
        self.assertEqual(one.times.apply(Grant("g", scope, 7.0, "ann", "fine", created=6.0)), one)


class GrantTests(SynchronousTestCase):
    """Grants and their scopes."""

    def test_scope(self) -> None:
        """Only the query does not affect the scope."""
        subject = GrantScope.of(REQUEST, "r")
        self.assertEqual(GrantScope.of(attrs.evolve(REQUEST, path="/?q=1", request_id="2", body=b"x"), "r"), subject)
        for other in (
            GrantScope.of(REQUEST, None),
            GrantScope.of(attrs.evolve(REQUEST, path="/a"), "r"),
            GrantScope.of(attrs.evolve(REQUEST, method="POST"), "r"),
            GrantScope.of(attrs.evolve(REQUEST, client=ClientIdentity("192.0.2.1", 1, "ann")), "r"),
            GrantScope.of(attrs.evolve(REQUEST, client=ClientIdentity("192.0.2.2", 1)), "r"),
        ):
            self.assertNotEqual(other, subject)

    def test_display(self) -> None:
        for path, url in (
            ("/a", "http://a.test/a"),
            ("*", "http://a.test"),
            ("/" + "x" * 1988, "http://a.test/" + "x" * 1986 + "... (2 more characters)"),
        ):
            subject = GrantScope.of(attrs.evolve(REQUEST, path=path), "r")
            self.assertEqual(
                Grant("1", subject, 7.5, "ann", "why").to_display(),
                {
                    "id": "1",
                    "stage": "request",
                    "method": "GET",
                    "url": url,
                    "client": "192.0.2.1",
                    "identity": None,
                    "ruleId": "r",
                    "until": 7.5,
                    "by": "ann",
                    "reason": "why",
                },
            )

    def test_display_truncates(self) -> None:
        request = attrs.evolve(REQUEST, method="M" * 300, client=ClientIdentity("192.0.2.1", 1, "c" * 300))
        shown = Grant("1", GrantScope.of(request, "r" * 300), 7.5, "ann", "why").to_display()
        self.assertEqual(shown["identity"], "c" * 200 + "... (100 more characters)")
        self.assertEqual(shown["method"], "M" * 200 + "... (100 more characters)")
        self.assertEqual(shown["ruleId"], "r" * 200 + "... (100 more characters)")

    def test_json(self) -> None:
        permission = Grant("1", GrantScope.of(REQUEST, "r"), 7.5, "ann", "why")
        self.assertEqual(Grant.from_json(json.loads(json.dumps(permission.to_json()))), permission)
