"""SIGHUP: what the configuration names in files is read anew."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from egress.config import ConfigError

_log = Logger()


def reload_at_hangup(reactor: Any, reload: Callable[[], object]) -> None:
    """Have files read anew whenever SIGHUP comes, once the reactor runs.

    @param reactor: an C{IReactorCore} and C{IReactorFromThreads}.
    @param reload: reads them, and raises L{ConfigError} when one cannot be used.
    """

    def hung_up(number: int, frame: object) -> None:
        # A signal may come in the middle of anything.
        reactor.callFromThread(read_anew, reload)

    reactor.addSystemEventTrigger("before", "startup", signal.signal, signal.SIGHUP, hung_up)


def read_anew(reload: Callable[[], object]) -> bool:
    """Read the files, or say why all remains as it was.

    @return: whether they were read.
    """
    try:
        reload()
    except ConfigError as error:
        _log.error("the files of the configuration cannot be used, all remains as it was: {error}", error=error)
        return False
    _log.info("the files of the configuration were read anew")
    return True
