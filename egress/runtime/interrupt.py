"""Ctrl-C while a process starts, before its reactor takes care of signals.

Python raises C{KeyboardInterrupt} wherever the program is.  Inside a callback of a Deferred it becomes a failure that
nobody asked for, and the start goes on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, Final

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
