"""Tests for L{egress.authz.secrets.command}."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.secrets.command import COMMAND_SECONDS, MAX_OUTPUT, CommandFailed, run_command


class Spawner(Clock):
    """Starts no process.

    @ivar fault: the exception to raise.
    @ivar signals: the signals that the program received.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fault: OSError | None = None
        self.signals: list[str] = []
        self.stdin_closed = self.closed = self.exited = False

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], env: object) -> None:
        """See C{IReactorProcess}."""
        if self.fault is not None:
            raise self.fault
        self.started = (executable, args, env)
        self.protocol = protocol
        protocol.makeConnection(self)

    def closeStdin(self) -> None:
        self.stdin_closed = True

    def signalProcess(self, signal: str) -> None:
        if self.exited:
            raise ProcessExitedAlready
        self.signals.append(signal)

    def loseConnection(self) -> None:
        self.closed = True

    def end(self, reason: Exception) -> None:
        """End the program."""
        self.protocol.processEnded(Failure(reason))


class RunCommandTests(SynchronousTestCase):
    """The output of a program, or the reason for its absence."""

    def setUp(self) -> None:
        self.spawner = Spawner()

    def tearDown(self) -> None:
        self.assertEqual(self.spawner.getDelayedCalls(), [])

    def test_output(self) -> None:
        done = run_command(self.spawner, ("print", "x"))
        self.assertEqual(self.spawner.started, ("print", ["print", "x"], None))
        self.assertTrue(self.spawner.stdin_closed)
        self.spawner.protocol.outReceived(b"a")
        self.spawner.protocol.errReceived(b"warning: hidden")
        self.spawner.protocol.outReceived(b"b\n")
        self.assertNoResult(done)
        self.spawner.end(ProcessDone(0))
        self.assertEqual(self.successResultOf(done), b"ab\n")
        self.assertEqual((self.spawner.signals, self.spawner.closed), ([], False))

    def fails(self, reason: Exception, says: str) -> None:
        done = run_command(self.spawner, ("print",))
        self.spawner.protocol.outReceived(b"hidden")
        self.spawner.end(reason)
        error = self.failureResultOf(done, CommandFailed).value
        self.assertEqual(str(error), says)

    def test_status(self) -> None:
        self.fails(ProcessTerminated(3), "exited with status 3")
        self.fails(ProcessTerminated(None, 9), "was killed by a signal")

    def test_timeout(self) -> None:
        done = run_command(self.spawner, ("print",))
        self.spawner.advance(COMMAND_SECONDS)
        self.assertIn("10 s", str(self.failureResultOf(done, CommandFailed).value))
        self.assertEqual((self.spawner.signals, self.spawner.closed), (["KILL"], True))
        self.spawner.end(ProcessTerminated(None, 9))

    def test_child_process_keeps_the_output_open(self) -> None:
        done = run_command(self.spawner, ("print",))
        self.spawner.exited = True
        self.spawner.advance(COMMAND_SECONDS)
        self.failureResultOf(done, CommandFailed)
        self.assertEqual((self.spawner.signals, self.spawner.closed), ([], True))

    def test_output_limit(self) -> None:
        done = run_command(self.spawner, ("print",))
        self.spawner.protocol.outReceived(b"x" * MAX_OUTPUT)
        self.assertNoResult(done)
        self.spawner.protocol.outReceived(b"x")
        self.assertIn("more than", str(self.failureResultOf(done, CommandFailed).value))
        self.assertEqual(self.spawner.signals, ["KILL"])

    def test_cancelled(self) -> None:
        done = run_command(self.spawner, ("print",))
        done.addErrback(lambda _: None)
        done.cancel()
        self.assertEqual((self.spawner.signals, self.spawner.closed), (["KILL"], True))

    def test_not_started(self) -> None:
        self.spawner.fault = OSError(11, "Resource temporarily unavailable")
        error = self.failureResultOf(run_command(self.spawner, ("print",)), CommandFailed).value
        self.assertEqual(str(error), "cannot be started: Resource temporarily unavailable")
