"""Tests for L{egress.launch.isolate.first_process}."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.first_process import supervise

_USER, _KERNEL = 0, 0x80
_COMMAND = 7


@attrs.frozen
class Information:
    """The part of C{signal.struct_siginfo} that is read."""

    si_signo: int
    si_code: int = _USER


class SuperviseTests(SynchronousTestCase):
    """The first process, with the signals that it waits for and the processes that end."""

    def supervise(self, *events: Information, ended: Iterable[tuple[int, int]] = ()) -> int:
        """Run it until the events are used up.

        @param ended: the results of waitpid(2); 0 is "no other process has ended".
        """
        waiting, results = iter(events), iter(ended)
        self.killed: list[tuple[int, int]] = []
        self.patch(os, "kill", lambda process, number: self.killed.append((process, number)))
        self.patch(os, "waitpid", lambda process, options: next(results))
        wait: Any = lambda numbers: next(waiting)  # noqa: E731
        return supervise(_COMMAND, wait)

    def test_exit_status(self) -> None:
        for code, status in ((0, 0), (7 << 8, 7), (signal.SIGKILL, 137)):
            child = Information(signal.SIGCHLD)
            self.assertEqual(self.supervise(child, ended=[(_COMMAND, code), (0, 0)]), status)

    def test_other_processes(self) -> None:
        """It collects processes whose parents have ended, and continues."""
        child = Information(signal.SIGCHLD)
        ended = [(9, 0), (10, 0), (0, 0), (11, 0), (_COMMAND, 3 << 8), (12, 0), (0, 0)]
        self.assertEqual(self.supervise(child, child, ended=ended), 3)

    def test_signals(self) -> None:
        """It passes signals on, except those of the terminal, which the command receives itself."""
        events = (
            Information(signal.SIGTERM),
            Information(signal.SIGINT, _KERNEL),
            Information(signal.SIGINT),
            Information(signal.SIGCHLD),
        )
        self.assertEqual(self.supervise(*events, ended=[(_COMMAND, 0), (0, 0)]), 0)
        self.assertEqual(self.killed, [(_COMMAND, signal.SIGTERM), (_COMMAND, signal.SIGINT)])
