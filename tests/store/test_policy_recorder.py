"""Tests for L{egress.store.policy_recorder}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.parse.load import load_starter, parse_policy
from egress.store.policy_recorder import PolicyRecorder


class PolicyRecorderTests(SynchronousTestCase):
    """Policies that come into use."""

    def test_used(self) -> None:
        found: list[Any] = []
        sink: Any = type("Sink", (), {"write_policy": found.append})
        PolicyRecorder("/etc/p.toml", sink, lambda: 1.5).used(load_starter())
        PolicyRecorder(None, sink).used(load_starter())
        PolicyRecorder(None, sink).used(None)
        PolicyRecorder(None, None).used(load_starter())
        self.assertEqual([use.source for use in found], ["/etc/p.toml", "starter policy"])
        self.assertEqual(found[0].time, 1.5)

    def test_again(self) -> None:
        """A file that is read again is the same policy."""
        found: list[Any] = []
        sink: Any = type("Sink", (), {"write_policy": found.append})
        recorder = PolicyRecorder(None, sink)
        for rules in (
            load_starter(),
            load_starter(),
            parse_policy("version = 1", "p.toml", "policy p"),
            load_starter(),
        ):
            recorder.used(rules)
        self.assertEqual(len({use.version for use in found}), 2)
        self.assertEqual(len(found), 3)
