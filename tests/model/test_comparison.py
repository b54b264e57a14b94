"""Tests for L{egress.model.comparison}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.comparison import ShadowComparison, ShadowResult, compare
from egress.model.decision import Decision, Verdict
from tests.authz.fakes import REQUEST

ALLOW, DENY, ASK, MORE = (
    Decision(verdict, "why", "x") for verdict in (Verdict.ALLOW, Verdict.DENY, Verdict.ASK, Verdict.NEED_BODY)
)


class ComparisonTests(SynchronousTestCase):
    """The comparison of a second decision with the first."""

    def test_table(self) -> None:
        for first, second, agreement in (
            (ALLOW, ALLOW, ShadowResult.SAME),
            (DENY, DENY, ShadowResult.SAME),
            (ASK, ASK, ShadowResult.SAME),
            (ALLOW, DENY, ShadowResult.STRICTER),
            (ALLOW, ASK, ShadowResult.STRICTER),
            (ASK, DENY, ShadowResult.STRICTER),
            (DENY, ALLOW, ShadowResult.LAXER),
            (DENY, ASK, ShadowResult.LAXER),
            (ASK, ALLOW, ShadowResult.LAXER),
            (ALLOW, MORE, ShadowResult.UNDECIDED),
            (MORE, ALLOW, ShadowResult.UNDECIDED),
        ):
            self.assertIs(compare(first, second), agreement, (first, second))

    def test_differs(self) -> None:
        differing = {one for one in ShadowResult if ShadowComparison(REQUEST, ALLOW, DENY, one).differs}
        self.assertEqual(differing, {ShadowResult.STRICTER, ShadowResult.LAXER})
