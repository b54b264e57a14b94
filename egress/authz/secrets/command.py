"""Running a program for what it prints: no shell, no input, so much output, so much time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

COMMAND_SECONDS: Final = 10.0
MAX_OUTPUT: Final = 64 * 1024


class CommandFailed(Exception):
    """There is nothing to be had of a program; the text never holds what it printed."""


class _Run(ProcessProtocol):
    """One run, whose end is told once."""

    transport: Any

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self.end(None))
        self._pieces: list[bytes] = []
        self._size = 0
        self._over = False
        self._timer: IDelayedCall | None = None

    def limit(self, clock: IReactorTime) -> None:
        """Give it so much time."""
        self._timer = clock.callLater(COMMAND_SECONDS, self._expired)

    def connectionMade(self) -> None:
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._size += len(data)
        self._pieces.append(data)
        if self._size > MAX_OUTPUT:
            self.end(CommandFailed(f"printed more than {MAX_OUTPUT} bytes"))

    def errReceived(self, data: bytes) -> None:
        """What it says there may hold anything, a secret too, so it is no message of ours."""

    def processEnded(self, reason: Failure) -> None:
        error = reason.value
        if isinstance(error, ProcessDone):
            self.end(b"".join(self._pieces))
        elif isinstance(error, ProcessTerminated) and error.signal is None:
            self.end(CommandFailed(f"ended with status {error.exitCode}"))
        else:
            self.end(CommandFailed("was ended by a signal"))

    def _expired(self) -> None:
        self.end(CommandFailed(f"did not end within {COMMAND_SECONDS:g} s"))

    def end(self, result: bytes | CommandFailed | None) -> None:
        """End the program, if it still runs, and tell.

        @param result: C{None} when nobody wants to know any more.
        """
        if self._over:
            return
        self._over = True
        self._pieces = []
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if isinstance(result, bytes):
            self.done.callback(result)
            return
        # One that has ended may have left something behind that keeps its output open.
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")
        self.transport.loseConnection()
        if result is not None:
            self.done.errback(result)


def run_command(reactor: Any, command: Sequence[str]) -> Deferred[bytes]:
    """Run a program.

    @param reactor: an C{IReactorProcess} that has the time.
    @param command: the program, and its arguments.
    @return: fires with what it printed, or fails with L{CommandFailed}.  Cancelling it ends the program.
    """
    spawner: IReactorProcess = reactor
    run = _Run()
    try:
        # With our environment: programs find their own settings there.
        spawner.spawnProcess(run, command[0], list(command), env=None)
    except OSError as error:
        return fail(CommandFailed(f"cannot be started: {error.strerror}"))
    run.limit(reactor)
    return run.done
