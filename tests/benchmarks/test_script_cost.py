"""Tests for L{benchmarks.script_cost}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.script_cost import USES, row


class ScriptCostTests(SynchronousTestCase):
    """The commands, and the table."""

    def test_commands(self) -> None:
        """Both ways send the same run of the script of the product."""
        for use in USES:
            text, digest = use.run.by_text(), use.run.by_digest()
            self.assertEqual((text[:2], digest[:2]), (("EVAL", use.script.text), ("EVALSHA", use.script.digest)))
            self.assertEqual((text[2], text[2:]), (len(use.kinds), digest[2:]))

    def test_row(self) -> None:
        self.assertEqual(row("a", [1909, 275], [172718.4, 129723.0]), "| a | 1,909 | 275 | 172,718 | 129,723 | 0.75 |")
        self.assertEqual(row("b", [9, 5], [14.54, 11.36]), "| b | 9 | 5 | 14.54 | 11.36 | 0.78 |")
