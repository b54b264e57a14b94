"""Tests for L{egress.model.comparison}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.comparison import Agreement, Comparison, compare
from egress.model.decision import Decision, Verdict
from tests.authz.test_fail_closed import REQUEST

ALLOW, DENY, ASK, MORE = (
    Decision(verdict, "why", "x") for verdict in (Verdict.ALLOW, Verdict.DENY, Verdict.ASK, Verdict.NEED_BODY)
)


class ComparisonTests(SynchronousTestCase):
    """The second against the first."""

    def test_table(self) -> None:
        for first, second, agreement in (
            (ALLOW, ALLOW, Agreement.SAME),
            (DENY, DENY, Agreement.SAME),
            (ASK, ASK, Agreement.SAME),
            (ALLOW, DENY, Agreement.STRICTER),
            (ALLOW, ASK, Agreement.STRICTER),
            (ASK, DENY, Agreement.STRICTER),
            (DENY, ALLOW, Agreement.LAXER),
            (DENY, ASK, Agreement.LAXER),
            (ASK, ALLOW, Agreement.LAXER),
            (ALLOW, MORE, Agreement.UNDECIDED),
            (MORE, ALLOW, Agreement.UNDECIDED),
        ):
            self.assertIs(compare(first, second), agreement, (first, second))

    def test_differs(self) -> None:
        differing = {one for one in Agreement if Comparison(REQUEST, ALLOW, DENY, one).differs}
        self.assertEqual(differing, {Agreement.STRICTER, Agreement.LAXER})
