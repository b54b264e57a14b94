"""Signal handlers: reload files, end a process before its reactor runs, and pass signals on to a program."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.config.model import ConfigError

_log = Logger()


def reload_on_sighup(reactor: Any, reload: Callable[[], Deferred[None]]) -> None:
    """Reload files on each SIGHUP.

    The handler is installed immediately: without it, a SIGHUP between the start and the first turn of the reactor, when
    the ports are open already, would end the process.  A reload that is requested before the reactor runs happens then.

    @param reactor: an C{IReactorCore} and C{IReactorFromThreads}.
    @param reload: reloads the files; see L{reload_and_log}.
    """

    def hung_up(number: int, frame: object) -> None:
        # A signal can arrive at any point of the program.
        reactor.callFromThread(reload_and_log, reload)

    signal.signal(signal.SIGHUP, hung_up)


def reload_and_log(reload: Callable[[], Deferred[None]]) -> Deferred[bool]:
    """Reload the files, or log why the previous content remains in use.

    @param reload: reloads the files; its Deferred fails with L{ConfigError} if one of them cannot be used.
    @return: fires with whether the files were reloaded.
    """

    def read(_: None) -> bool:
        _log.info("configuration files reloaded")
        return True

    def refused(failure: Failure) -> bool:
        if isinstance(failure.value, CancelledError):
            _log.info("configuration files not reloaded: the program is stopping")
            return False
        if not isinstance(failure.value, ConfigError):
            _log.failure("configuration reload failed", failure)
            return False
        _log.error("configuration reload failed, keeping the previous configuration: {error}", error=failure.value)
        return False

    return reload().addCallbacks(read, refused)


# The exit status that a shell reports for a program that SIGINT ended.
_STATUS: Final = 128 + signal.SIGINT


def end_when_interrupted(reactor: Any, tidy: Callable[[], object]) -> None:
    """Let SIGINT end the process by that signal, until the reactor runs and handles it.

    The handler is not installed if SIGINT is ignored, or if there is another handler.

    @param reactor: a C{twisted.internet.base.ReactorBase}.
    @param tidy: called before the process ends.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return

    def end(number: int, frame: object) -> None:
        tidy()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # The signal had no effect: it does not end the first process of a container, which has no handler for it.
        os._exit(_STATUS)

    def hand_over() -> None:
        if signal.getsignal(signal.SIGINT) is end:
            signal.signal(signal.SIGINT, reactor.sigInt)

    signal.signal(signal.SIGINT, end)
    # The reactor replaces only Python's own handler; restoring that one earlier would leave a gap.
    reactor.addSystemEventTrigger("after", "startup", hand_over)


class StopSignals:
    """Lets the first SIGINT or SIGTERM stop a reactor, and each later one end the wait of that stop.

    The handlers of a reactor would stop it twice, which is an error. It occurs even if the second signal arrives before
    the reactor processes the first one.

    @param reactor: a C{twisted.internet.base.ReactorBase}, which does not run yet.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._stopping = self._again = False
        self._abort: Callable[[], object] | None = None
        # The reactor installs its handlers when it starts.
        reactor.addSystemEventTrigger("after", "startup", self._take_over)

    def _take_over(self) -> None:
        reactor = self._reactor
        for number, stop in ((signal.SIGINT, reactor.sigInt), (signal.SIGTERM, reactor.sigTerm)):
            # Not if the signal is ignored, or if the program has its own handler.
            if signal.getsignal(number) == stop:
                signal.signal(number, partial(self._received, stop))

    def _received(self, stop: Callable[[int, object], object], number: int, frame: object) -> None:
        # A signal can arrive at any point of the program.
        if self._stopping:
            self._reactor.callFromThread(self._end_wait)
        else:
            self._stopping = True
            stop(number, frame)

    def _end_wait(self) -> None:
        self._again = True
        if self._abort is not None:
            self._abort()

    def began(self, abort: Callable[[], object]) -> None:
        """Note that the stop has begun.

        @param abort: ends the wait of the stop. It is called for each further signal.
        """
        self._stopping, self._abort = True, abort
        if self._again:
            abort()


@contextmanager
def forwarded_signals(reactor: Any, forward: Callable[[int], object]) -> Iterator[None]:
    """Pass the signals of this process on to a program, during the block.

    A terminal sends SIGINT and SIGQUIT to all processes in its foreground.  If this process is one of them, the program
    receives them as well, so they are ignored here.

    @param reactor: an C{IReactorFromThreads}.
    @param forward: sends a signal, by its number, to the program.
    """

    def received(number: int, frame: object) -> None:
        reactor.callFromThread(forward, number)

    def ignored(number: int, frame: object) -> None:
        """Unlike C{SIG_IGN}, a handler is not inherited by the program."""

    before = {}
    for number in _FORWARDED:
        from_terminal = number in _FROM_TERMINAL and in_foreground()
        before[number] = signal.signal(number, ignored if from_terminal else received)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)
_FORWARDED: Final = (*_FROM_TERMINAL, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def in_foreground() -> bool:
    """Tell whether this process is in the foreground of its terminal."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
