"""Tests for L{egress.console.shadow_view}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.console.policy_reader import lines_of
from egress.console.shadow_view import ShadowView
from egress.policy.parse.load import parse_policy
from tests.console.browser import record

RULES = 'version = 1\n[[rules]]\nname = "a"\naction = "{}"\nreason = "x"\n'


class ShadowViewTests(SynchronousTestCase):
    """The comparison with the policy that decides."""

    def test_difference(self) -> None:
        before, after = (parse_policy(RULES.format(action), "p.toml", "policy p") for action in ("allow", "deny"))
        lines = lines_of([record(url="https://api.example/v1"), record(verdict="rejected")])
        view = ShadowView.of(before, after, lines)
        self.assertEqual(
            (view.name, view.version, view.current), ("policy p", after.policy_version, before.policy_version)
        )
        self.assertEqual((view.records, view.difference.requests, view.difference.changed), (1, 1, 1))
        self.assertEqual(ShadowView.of(before, before, lines).difference.changed, 0)
