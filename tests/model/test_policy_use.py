"""Tests for L{egress.model.policy_use}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.policy_use import PolicyUse


class PolicyUseTests(SynchronousTestCase):
    """An entry."""

    def test_repr(self) -> None:
        """The text of a policy is not in messages."""
        use = PolicyUse(time=1.0, version="a", digest="ab", source="console", texts="the text")
        self.assertNotIn("the text", repr(use))
        self.assertEqual((use.author, use.node), ("", ""))
