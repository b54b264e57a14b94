"""SIGHUP: what the configuration names in files is read anew."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

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
