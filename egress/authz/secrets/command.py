"""The execution of a program for its output: without a shell or input, and with limits on output and time."""

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
    """A program produced no usable output.  The text never contains its output."""


class _Run(ProcessProtocol):
    """One execution, whose result is reported once."""

    transport: Any

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self.end(None))
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._timer: IDelayedCall | None = None

    def start_timeout(self, clock: IReactorTime) -> None:
        """Start the timeout."""
        self._timer = clock.callLater(COMMAND_SECONDS, self._expired)

    def connectionMade(self) -> None:
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._size += len(data)
        self._pieces.append(data)
        if self._size > MAX_OUTPUT:
            self.end(CommandFailed(f"printed more than {MAX_OUTPUT} bytes"))

    def errReceived(self, data: bytes) -> None:
        """Discard the error output: it may contain a secret, so it is not part of any message."""

    def processEnded(self, reason: Failure) -> None:
        error = reason.value
        if isinstance(error, ProcessDone):
            self.end(b"".join(self._pieces))
        elif isinstance(error, ProcessTerminated) and error.signal is None:
            self.end(CommandFailed(f"exited with status {error.exitCode}"))
        else:
            self.end(CommandFailed("was killed by a signal"))

    def _expired(self) -> None:
        self.end(CommandFailed(f"did not exit within {COMMAND_SECONDS:g} s"))

    def end(self, result: bytes | CommandFailed | None) -> None:
        """End the program, if it still runs, and report the result.

        @param result: C{None} if the caller does not wait any more.
        """
        if self._ended:
            return
        self._ended = True
        self._pieces = []
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if isinstance(result, bytes):
            self.done.callback(result)
            return
        # A process that ended may have left a child process that keeps its output open.
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")
        self.transport.loseConnection()
        if result is not None:
            self.done.errback(result)


def run_command(reactor: Any, command: Sequence[str]) -> Deferred[bytes]:
    """Run a program.

    @param reactor: an C{IReactorProcess} that is also an C{IReactorTime}.
    @param command: the program, and its arguments.
    @return: fires with the output, or fails with L{CommandFailed}.  Cancelling it ends the program.
    """
    spawner: IReactorProcess = reactor
    run = _Run()
    try:
        # The program inherits the environment, because it may read its own settings there.
        spawner.spawnProcess(run, command[0], list(command), env=None)
    except OSError as error:
        return fail(CommandFailed(f"cannot be started: {error.strerror}"))
    run.start_timeout(reactor)
    return run.done
