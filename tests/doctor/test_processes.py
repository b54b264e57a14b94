"""Tests for L{egress.doctor.processes}; C{tests.integration.test_doctor} has those that take time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from egress.doctor import processes as module
from egress.doctor.processes import Processes, kill_group
from egress.doctor.runtime_judgement import Attempt
from tests.files import make_directory


class ProcessesTests(SynchronousTestCase):
    """Processes of a diagnosis."""

    def setUp(self) -> None:
        self.processes = Processes()
        self.directory = make_directory(self)

    def attempt(self, *command: str, seconds: float = 60.0, **environ: str) -> Attempt:
        return self.processes.attempt(command, environ, self.directory, seconds)

    def test_output(self) -> None:
        found = self.attempt("/bin/sh", "-c", "echo $A; pwd; cat; echo b >&2; exit 3", A="a")
        self.assertEqual(found.output, f"a\n{self.directory.resolve()}\nb\n")
        self.assertEqual((found.status, list(found.command[:2])), (3, ["/bin/sh", "-c"]))
        self.assertGreater(found.seconds, 0)

    def test_long_output(self) -> None:
        """Its end has the error."""
        self.patch(module, "_MAX_OUTPUT", 10)
        self.assertEqual(self.attempt(sys.executable, "-c", "print('x' * 1000 + 'the end')").output, "xxthe end\n")

    def test_timeout(self) -> None:
        killed: list[tuple[int, int]] = []
        kill = os.killpg

        def record(group: int, number: int) -> None:
            killed.append((group, number))
            kill(group, number)

        self.patch(os, "killpg", record)
        found = self.attempt("/bin/sh", "-c", "echo begun; exec sleep 600", seconds=0.0)
        self.assertIsNone(found.status)
        self.assertEqual([number for _, number in killed], [signal.SIGKILL])

    def test_no_program(self) -> None:
        self.assertRaises(OSError, self.attempt, "/nonexistent")

    def test_stopped(self) -> None:
        """A stopped diagnosis kills what runs, and starts nothing."""
        killed: list[int] = []
        case = self

        class Running:
            pid = 12345

            def __init__(self, *_: object, **options: object) -> None:
                case.assertTrue(options["start_new_session"])

            def wait(self, seconds: float | None = None) -> int:
                if seconds is not None:
                    case.processes.stop()
                return 0

        self.patch(module, "kill_group", killed.append)
        self.patch(subprocess, "Popen", Running)
        self.attempt("/bin/x")
        self.assertEqual(killed, [12345, 12345])
        self.assertRaises(OSError, self.attempt, "/bin/x")

    def test_a_group_that_ended(self) -> None:
        kill_group(2**22 + 1)
