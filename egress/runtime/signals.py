"""Signals: SIGHUP reloads files, and SIGINT ends a process whose reactor does not run yet."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.config.model import ConfigError

_log = Logger()


def reload_at_hangup(reactor: Any, reload: Callable[[], Deferred[None]]) -> None:
    """Have files read anew whenever SIGHUP comes, once the reactor runs.

    @param reactor: an C{IReactorCore} and C{IReactorFromThreads}.
    @param reload: reads them; see L{read_anew}.
    """

    def hung_up(number: int, frame: object) -> None:
        # A signal may come in the middle of anything.
        reactor.callFromThread(read_anew, reload)

    reactor.addSystemEventTrigger("before", "startup", signal.signal, signal.SIGHUP, hung_up)


def read_anew(reload: Callable[[], Deferred[None]]) -> Deferred[bool]:
    """Read the files, or say why all remains as it was.

    @param reload: reads them; its Deferred fails with L{ConfigError} when one cannot be used.
    @return: fires with whether they were read.
    """

    def read(_: None) -> bool:
        _log.info("the files of the configuration were read anew")
        return True

    def refused(failure: Failure) -> bool:
        if isinstance(failure.value, CancelledError):
            _log.info("the files of the configuration are not read: the program is being stopped")
            return False
        if not isinstance(failure.value, ConfigError):
            _log.failure("the files of the configuration could not be read", failure)
            return False
        _log.error("the files of the configuration cannot be used, all remains as it was: {error}", error=failure.value)
        return False

    return reload().addCallbacks(read, refused)


# What a shell makes of a program that SIGINT ended.
_STATUS: Final = 128 + signal.SIGINT


def end_when_interrupted(reactor: Any, tidy: Callable[[], object]) -> None:
    """Let SIGINT end the process by that signal, until the reactor runs and takes care of it.

    Nothing is changed where SIGINT is ignored, or somebody else handles it.

    @param reactor: a L{twisted.internet.base.ReactorBase}.
    @param tidy: called before the end.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return

    def end(number: int, frame: object) -> None:
        tidy()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # Still here: the first process of a container is not ended by a signal that it does not handle.
        os._exit(_STATUS)

    def hand_over() -> None:
        if signal.getsignal(signal.SIGINT) is end:
            signal.signal(signal.SIGINT, reactor.sigInt)

    signal.signal(signal.SIGINT, end)
    # The reactor leaves every handler but Python's own in place; to give that back before would leave a gap.
    reactor.addSystemEventTrigger("after", "startup", hand_over)
