"""Tests for L{egress.checks.finding}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Fix, Status, error, exit_status, fault, fixes_of, ok, skipped, warning

FIX = Fix("do it")


class FindingTests(SynchronousTestCase):
    """Findings, and the exit status that follows from them."""

    def test_exit_status(self) -> None:
        healthy = [ok("a", "fine"), skipped("b", "nothing to check")]
        for findings, status in (
            ([], 0),
            (healthy, 0),
            ([*healthy, warning("c", "soon", FIX)], 1),
            ([*healthy, fault("c", "broken", FIX)], 1),
            ([error("d", "failed"), fault("c", "broken", FIX)], 2),
        ):
            self.assertEqual(exit_status(iter(findings)), status)

    def test_to_fix(self) -> None:
        self.assertEqual(
            [finding.to_fix for finding in (ok("a", ""), skipped("a", ""), error("a", ""), warning("a", "", FIX))],
            [False, False, False, True],
        )
        self.assertEqual(fault("a", "", FIX).status, Status.FAULT)

    def test_fixes_are_grouped(self) -> None:
        """Each line once, with all checks that it fixes."""
        other = Fix("else", ("else",))
        findings = [fault("a", "", FIX), ok("b", ""), warning("c", "", other), fault("d", "", Fix("do it"))]
        self.assertEqual(fixes_of(findings), {FIX: ["a", "d"], other: ["c"]})
