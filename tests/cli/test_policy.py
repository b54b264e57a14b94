"""Tests for L{egress.cli.policy}."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli


class PolicyCommandTests(SynchronousTestCase):
    """The command group."""

    def test_help(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertRaises(SystemExit, cli.main, ["policy", "--help"])
        for name in ("new", "check", "suggest", "replay"):
            self.assertIn(f"{name} ", out.getvalue())

    def test_one_is_required(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            error = self.assertRaises(SystemExit, cli.main, ["policy"])
        self.assertEqual(error.code, 2)
