"""Tests for L{egress.model.change}."""

from __future__ import annotations

import json

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.change import Actor, Change, ChangeKind, policy_change
from egress.model.policy_use import PolicyUse
from egress.observability.audit_log import audit_line

CHANGE = Change(ChangeKind.RULE_ADDED, "a rule", Actor(role="admin", address="10.0.0.1", port=7, place="console"))


class ChangeTests(SynchronousTestCase):
    """Changes and their records."""

    def test_json(self) -> None:
        self.assertEqual(Change.from_json(json.loads(json.dumps(CHANGE.to_json()))), CHANGE)

    def test_policy(self) -> None:
        """A change of a policy has its entry of the history."""
        use = PolicyUse(time=1.5, version="v", digest="d", source="console", author="alice", texts="[]")
        change = attrs.evolve(CHANGE, policy=use)
        self.assertEqual(Change.from_json(json.loads(json.dumps(change.to_json()))), change)

    def test_record(self) -> None:
        """The record has the keys of an exchange, most of them without a value."""
        line = json.loads(audit_line(CHANGE.record(1_700_000_000.0, "abc")))
        expected = {
            "time": "2023-11-14T22:13:20.000Z",
            "requestId": "abc",
            "client": "10.0.0.1:7",
            "identity": "admin",
            "stage": "admin",
            "method": "",
            "url": "",
            "verdict": "change",
            "outcome": "rule-added",
            "reason": "a rule",
            "decidedBy": "console",
            "ruleId": None,
            "status": None,
        }
        self.assertEqual({name: line[name] for name in expected}, expected)

    def test_policies(self) -> None:
        self.assertEqual(policy_change(None, None), "")
        self.assertEqual(policy_change("a", "a"), "; the policy remains a")
        self.assertEqual(policy_change("a", "b"), "; the policy was a, and is b")
