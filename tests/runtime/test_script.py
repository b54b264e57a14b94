"""Tests for L{egress.runtime.script}."""

from __future__ import annotations

import sys

from twisted.scripts import twistd
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime import script


class ScriptTests(SynchronousTestCase):
    """The commands are twistd in the foreground."""

    def test_arguments(self) -> None:
        for given, expected in (
            ([], []),
            (["-n"], []),
            (["--nodaemon", "--policy", "-n"], ["--policy", "-n"]),
            (["--listen", "tcp:1"], ["--listen", "tcp:1"]),
        ):
            with self.subTest(given):
                arguments = script.twistd_arguments("egressproxy", given)
                self.assertEqual(arguments, ["twistd", "-n", "egressproxy", *expected])

    def test_run(self) -> None:
        ran: list[list[str]] = []
        self.patch(twistd, "run", lambda: ran.append(list(sys.argv)))
        for run, name in ((script.egressproxy, "egressproxy"), (script.egressauthz, "egressauthz")):
            self.patch(sys, "argv", [name, "-n", "--version"])
            run()
            self.assertEqual(ran.pop(), ["twistd", "-n", name, "--version"])
