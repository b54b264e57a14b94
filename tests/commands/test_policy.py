"""Tests for L{egress.commands.policy}."""

from __future__ import annotations

import io
import sys

from tests.commands.running import CommandTestCase


class PolicyCommandTests(CommandTestCase):
    """The group."""

    def test_help(self) -> None:
        status, out, _ = self.run_help("policy")
        self.assertEqual(status, 0)
        for name in ("suggest", "replay"):
            self.assertIn(f"{name} ", out)
            self.assertEqual(self.run_help("policy", name)[0], 0)

    def run_help(self, *arguments: str) -> tuple[int, str, str]:
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        status, _, err = self.run_egress(*arguments, "--help")
        return status, out.getvalue(), err
