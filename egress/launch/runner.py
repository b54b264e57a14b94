"""A command behind a proxy: the proxy runs as long as the command."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from egress.runtime.signals import forwarded_signals

# The exit statuses of a shell for a command that cannot be run, or that a signal ended (POSIX, section 2.8.2).
NOT_EXECUTABLE = 126
NOT_FOUND = 127
_SIGNALLED = 128


class CannotRun(Exception):
    """The command cannot be started; the text names the reason.

    @ivar exit_status: the exit status of a shell for this error.
    """

    def __init__(self, reason: str, exit_status: int) -> None:
        super().__init__(reason)
        self.exit_status = exit_status


def executable_of(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """Find the program of a command in C{PATH}.

    @raise CannotRun: if there is none.
    """
    name = command[0]
    found = shutil.which(name, path=environ.get("PATH", os.defpath))
    if found is not None:
        return found
    if shutil.which(name, os.F_OK, path=environ.get("PATH", os.defpath)) is not None:
        raise CannotRun(f"{name}: permission denied", NOT_EXECUTABLE)
    raise CannotRun(f"{name}: command not found", NOT_FOUND)


def exit_status(reason: Failure) -> int:
    """Return the exit status of a process that has ended, as a shell reports it.

    @param reason: the argument of C{IProcessProtocol.processExited}.
    """
    value: Any = reason.value
    status: int = value.exitCode if value.signal is None else _SIGNALLED + value.signal
    return status


class _Process(ProcessProtocol):
    """Waits for the end of a process.

    @param ended: is called with the exit status, as a shell reports it.
    """

    def __init__(self, ended: Callable[[int], None]) -> None:
        self._ended = ended

    def processExited(self, reason: Failure) -> None:
        """Report the exit status."""
        self._ended(exit_status(reason))


def run_command(
    reactor: Any,
    executable: str,
    command: Sequence[str],
    environ: Mapping[str, str],
    forwarding: Callable[[Any, Callable[[int], object]], AbstractContextManager[None]] = forwarded_signals,
) -> Deferred[int]:
    """Run a command with the standard streams and the terminal of this process, and pass signals on to it.

    @param reactor: an C{IReactorProcess}.
    @param executable: the program (L{executable_of}).
    @param command: the command and its arguments.
    @param environ: the whole environment of the command.
    @param forwarding: see L{forwarded_signals}.
    @return: fires with the exit status, as a shell reports it.  Cancelling it sends SIGTERM to the command.
    """
    block = ExitStack()

    def send(number: int) -> None:
        with suppress(ProcessExitedAlready):
            process.signalProcess(number)

    def ended(status: int) -> None:
        block.close()
        if not waiting.called:
            waiting.callback(status)

    waiting: Deferred[int] = Deferred(lambda _: send(signal.SIGTERM))
    process = reactor.spawnProcess(_Process(ended), executable, command, env=environ, childFDs={0: 0, 1: 1, 2: 2})
    block.enter_context(forwarding(reactor, send))
    return waiting
