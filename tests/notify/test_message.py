"""Tests for L{egress.notify.message}."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.notify import message
from egress.notify.grouping import Group, Summary
from egress.notify.incident import Change
from egress.notify.message import Severity

# 2026-11-29 14:00:00 UTC.
NOW = 1795960800.0
DENIAL: dict[str, Any] = {
    "requestId": "r/1",
    "time": NOW,
    "stage": "request",
    "method": "GET",
    "url": "https://a.test/x",
    "host": "a.test",
    "client": "192.0.2.1",
    "identity": None,
    "ruleId": "no-a",
    "reason": "not here",
    "decidedBy": "the policy",
    "outcome": "denied",
}
APPROVAL: dict[str, Any] = {
    "id": "abc",
    "stage": "request",
    "method": "POST",
    "url": "https://a.test/pay",
    "contentLength": 12,
    "client": "192.0.2.1",
    "identity": "ci",
    "ruleId": "pay",
    "reason": "needs a look",
    "decidedBy": "the policy",
    "since": NOW,
    "until": NOW + 300,
}


class ContentTests(SynchronousTestCase):
    """Each event has a type, a title without text of clients, and facts."""

    def test_denial(self) -> None:
        content = message.denial(DENIAL, 1)
        self.assertEqual((content.type, content.title), ("denial.first", "Request denied"))
        self.assertIn(("Request", "GET https://a.test/x"), content.facts)
        self.assertIn(("Client", "192.0.2.1"), content.facts)
        self.assertEqual(content.page, "/console/requests/r%2F1")
        self.assertEqual((content.data["count"], content.data["time"]), (1, "2026-11-29T14:00:00.000Z"))
        self.assertEqual(message.denial(DENIAL, 1200).title, "1,200 requests denied")

    def test_denials(self) -> None:
        groups = (Group(DENIAL, 40, 0.0), Group({**DENIAL, "ruleId": None, "identity": "ci"}, 1, 0.0))
        content = message.denials(Summary(groups, 50, 7, NOW), NOW + 60)
        self.assertEqual(content.title, "50 further requests denied since 2026-11-29 14:00:00 UTC")
        self.assertEqual(
            content.facts,
            (
                ("40 denials", "a.test, rule no-a, client 192.0.2.1"),
                ("1 denial", "a.test, rule (none), client ci (192.0.2.1)"),
                ("9 denials", "of other rules, hosts or clients"),
            ),
        )
        self.assertEqual([group["count"] for group in content.data["groups"]], [40, 1])
        self.assertEqual((content.data["count"], content.data["groupsTotal"]), (50, 7))
        self.assertEqual(content.data["until"], "2026-11-29T14:01:00.000Z")

    def test_one_more_denial(self) -> None:
        content = message.denials(Summary((Group(DENIAL, 1, 0.0),), 1, 1, NOW), NOW + 60)
        self.assertEqual(len(content.facts), 1)
        self.assertTrue(content.title.startswith("1 further request denied"))

    def test_approval(self) -> None:
        content = message.approval(APPROVAL)
        self.assertEqual((content.type, content.until), ("approval.pending", NOW + 300))
        self.assertIn("until 2026-11-29 14:05:00 UTC", content.title)
        self.assertIn(("Content", "12 bytes"), content.facts)
        self.assertIn(("Approval ID", "abc"), content.facts)
        self.assertEqual(content.data["until"], "2026-11-29T14:05:00.000Z")
        self.assertNotIn("Content", dict(message.approval({**APPROVAL, "contentLength": None}).facts))

    def test_faults(self) -> None:
        """A fault that ends is not a warning."""
        for write, fault, began, ended in (
            (message.breaker, "timed out", "breaker.opened", "breaker.closed"),
            (message.policy, "line 3", "policy.failed", "policy.loaded"),
        ):
            content = write(Change.BEGAN, fault)
            self.assertEqual((content.type, content.severity), (began, Severity.CRITICAL))
            self.assertEqual(content.facts[0][1], fault)
            content = write(Change.ENDED, "")
            self.assertEqual((content.type, content.severity, content.facts), (ended, Severity.INFO, ()))

    def test_ca(self) -> None:
        for days, severity, title in (
            (29.5, Severity.WARNING, "in 29 days"),
            (1.5, Severity.WARNING, "in 1 day"),
            (0.5, Severity.CRITICAL, "in 0 days"),
            (-0.5, Severity.CRITICAL, "The CA expired on"),
        ):
            with self.subTest(days):
                content = message.ca("AB:CD", NOW + days * 86400, NOW)
                self.assertIs(content.severity, severity)
                self.assertIn(title, content.title)
                self.assertEqual(content.data["daysLeft"], max(0, int(days)))

    def test_audit(self) -> None:
        content = message.audit({"reason": "No space left on device"}, 3)
        self.assertEqual((content.title, content.data["count"]), ("3 audit records lost", 3))
        self.assertEqual(message.audit({"reason": None}, 1).facts, ())

    def test_test(self) -> None:
        self.assertEqual((message.test().type, message.test().event), ("test", None))

    def test_titles_contain_no_text_of_clients(self) -> None:
        """Texts of clients are only in facts, which each format escapes."""
        times = ("since", "until", "time")
        hostile = {name: value if name in times else "<!channel>" for name, value in DENIAL.items()}
        for content in (
            message.denial(hostile, 1),
            message.denials(Summary((Group(hostile, 2, 0.0),), 2, 1, NOW), NOW),
            message.approval({**hostile, "id": "<!channel>", "contentLength": None, "since": NOW, "until": NOW}),
            message.audit({"reason": "<!channel>"}, 1),
        ):
            with self.subTest(content.type):
                self.assertNotIn("channel", content.title)
                self.assertNotIn("<", content.page)
                json.dumps(content.data)
