"""Tests for L{egress.runtime.react}, in separate processes, because each runs the reactor once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parent.parent.parent


class RunTests(SynchronousTestCase):
    """The result of the one Deferred."""

    def run_python(self, body: str) -> str:
        code = (
            "import os, signal\n"
            "from twisted.internet.defer import Deferred, fail, succeed\n"
            "from twisted.internet.task import deferLater\n"
            "from egress.runtime.react import run\n"
            f"try:\n    print(run({body}))\nexcept BaseException as error:\n    print(type(error).__name__, error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.strip()

    def test_a_result(self) -> None:
        self.assertEqual(self.run_python("lambda reactor: deferLater(reactor, 0.01, lambda: 7)"), "7")
        self.assertEqual(self.run_python("lambda reactor: succeed(None)"), "None")

    def test_a_failure(self) -> None:
        self.assertEqual(self.run_python("lambda reactor: fail(ValueError('no'))"), "ValueError no")
        self.assertEqual(self.run_python("lambda reactor: 1 / 0"), "ZeroDivisionError division by zero")

    def test_interrupted(self) -> None:
        """Ctrl-C cancels it."""
        body = "lambda reactor: (reactor.callLater(0, reactor.sigInt, 2), Deferred())[1]"
        self.assertEqual(self.run_python(body), "KeyboardInterrupt")

    def test_interrupted_twice(self) -> None:
        """A terminal and a parent process both send the signal."""
        kill = "os.kill(os.getpid(), signal.SIGINT)"
        body = f"lambda reactor: (reactor.callLater(0, lambda: [{kill}, {kill}]), Deferred())[1]"
        self.assertEqual(self.run_python(body), "KeyboardInterrupt")
