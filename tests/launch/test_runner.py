"""Tests for L{egress.launch.runner}."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.trial.unittest import SynchronousTestCase

from egress.launch.runner import NOT_EXECUTABLE, NOT_FOUND, CannotRun, executable_of, run_command
from tests.files import make_directory
from tests.launch.processes import Spawner


class ExecutableTests(SynchronousTestCase):
    """The program of a command."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        for name, mode in (("tool", 0o755), ("data", 0o644)):
            path = self.directory / name
            path.write_text("")
            path.chmod(mode)
        self.environ = {"PATH": str(self.directory)}

    def test_found(self) -> None:
        path = str(self.directory / "tool")
        self.assertEqual(executable_of(["tool", "x"], self.environ), path)
        self.assertEqual(executable_of([path], {}), path)

    def test_not_found(self) -> None:
        """The exit statuses are those of a shell."""
        for name, status in (("absent", NOT_FOUND), ("data", NOT_EXECUTABLE)):
            error = self.assertRaises(CannotRun, executable_of, [name], self.environ)
            self.assertEqual(error.exit_status, status)
            self.assertTrue(str(error).startswith(f"{name}: "))


class RunTests(SynchronousTestCase):
    """A command with the streams of this process."""

    def setUp(self) -> None:
        self.reactor = Spawner()
        self.forward: Callable[[int], object] | None = None

    @contextmanager
    def forwarding(self, reactor: object, forward: Callable[[int], object]) -> Iterator[None]:
        self.forward = forward
        yield
        self.forward = None

    def start(self) -> Any:
        directory = make_directory(self)
        self.tool = directory / "tool"
        self.tool.write_text("")
        self.tool.chmod(stat.S_IRWXU)
        self.environ = {"PATH": str(directory), "A": "b"}
        return run_command(self.reactor, str(self.tool), ["tool", "-x"], self.environ, self.forwarding)

    def test_process(self) -> None:
        running = self.start()
        self.assertNoResult(running)
        expected = (str(self.tool), ["tool", "-x"], self.environ, {0: 0, 1: 1, 2: 2})
        self.assertEqual(self.reactor.spawned, [expected])

    def test_exit_status(self) -> None:
        for reason, status in (
            (ProcessDone(None), 0),
            (ProcessTerminated(7), 7),
            (ProcessTerminated(signal=signal.SIGKILL), 137),
        ):
            running = self.start()
            self.reactor.exit(reason)
            self.assertEqual(self.successResultOf(running), status)

    def test_signals(self) -> None:
        running = self.start()
        assert self.forward is not None
        self.forward(signal.SIGHUP)
        self.assertEqual(self.reactor.process.signals, [signal.SIGHUP])
        forward = self.forward
        self.reactor.exit(ProcessDone(None))
        self.assertIsNone(self.forward)
        # A signal that arrives at this moment is too late.
        forward(signal.SIGTERM)
        self.assertEqual(self.successResultOf(running), 0)

    def test_cancelled(self) -> None:
        running = self.start()
        running.cancel()
        self.assertEqual(self.reactor.process.signals, [signal.SIGTERM])
        self.failureResultOf(running, CancelledError)
        self.reactor.exit(ProcessTerminated(signal=signal.SIGTERM))
        self.assertIsNone(self.forward)

    def test_default_path(self) -> None:
        self.assertTrue(os.path.isabs(executable_of(["sh"], {})))
