"""Programs that tests start react to signals, however the tests were started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.processes import ROOT, Process, environment, program

# As nohup does, and a shell for background jobs.
IGNORING = """
import signal, subprocess, sys
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
import tests.integration
signal.raise_signal(signal.SIGINT)
signal.raise_signal(signal.SIGHUP)
program = "import signal; print(*(signal.getsignal(each) is signal.SIG_IGN for each in (1, 2, 3)))"
subprocess.run([sys.executable, "-c", program], check=True)
"""


class SignalsTests(SynchronousTestCase):
    """Signals that the test process ignores."""

    def test_ignored(self) -> None:
        """The tests still ignore them, and the programs that they start do not."""
        done = subprocess.run(
            [sys.executable, "-c", IGNORING],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "False False False\n", ""))


class WaitingTests(SynchronousTestCase):
    """Waiting for the output of a program."""

    def start(self, script: str) -> Process:
        from pathlib import Path

        process = Process([program("sh"), "-c", script], Path(self.mktemp()), "sh", environment())
        self.addCleanup(process.stop)
        return process

    def test_printed(self) -> None:
        process = self.start("sleep 0.2; echo one; sleep 0.2; echo two; exec sleep 30")
        self.assertEqual(process.wait_for("one", "two"), "one\ntwo\n")

    def test_ended(self) -> None:
        """The last output before the end is included."""
        self.assertEqual(self.start("echo one").wait_for("one"), "one\n")
        self.assertRaises(AssertionError, self.start("echo one").wait_for, "two")

    def test_too_long(self) -> None:
        error = self.assertRaises(AssertionError, self.start("exec sleep 30").wait_for, "one", seconds=0.1)
        self.assertIn("has not printed ['one']", str(error))

    def test_signalled(self) -> None:
        process = self.start("exec sleep 30")
        process.popen.send_signal(signal.SIGINT)
        self.assertEqual(process.popen.wait(10), -signal.SIGINT)
