"""Tests for L{egress.launch.isolate.first_process}."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate import first_process
from egress.launch.isolate.first_process import run_first_process, supervise, terminal_restored
from egress.launch.isolate.id_maps import IdMaps
from egress.launch.isolate.messages import Command

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


class StartTests(SynchronousTestCase):
    """The start of the command, in the process that starts it."""

    def start(self, *, entered: bool) -> list[Any]:
        calls: list[Any] = []
        self.patch(os, "fork", lambda: _COMMAND)
        self.patch(os, "read", lambda descriptor, size: b"1" if entered else b"")
        self.patch(os, "write", lambda descriptor, data: calls.append(data))
        self.patch(first_process, "write_id_maps", lambda maps, process: calls.append(process))
        self.patch(first_process, "supervise", lambda process: process + 1)
        command = Command("/bin/sh", ["sh"], {}, [])
        maps = IdMaps("u", "g", complete=True)
        self.assertEqual(run_first_process(command, maps, [], lambda: None), _COMMAND + 1)
        return calls

    def test_start(self) -> None:
        """The command continues when it has its ids."""
        self.assertEqual(self.start(entered=True), [_COMMAND, b"1"])

    def test_ended(self) -> None:
        """The command could not enter the namespace."""
        self.assertEqual(self.start(entered=False), [])


class TerminalTests(SynchronousTestCase):
    """The terminal after the command."""

    def restored(self, *groups: int) -> list[int]:
        """Return the process groups that get the terminal.

        @param groups: the groups that have it before and after the command.
        """
        found, given = iter(groups), []
        self.patch(os, "open", lambda path, flags: os.dup(0))
        self.patch(os, "tcgetpgrp", lambda terminal: next(found))
        self.patch(os, "tcsetpgrp", lambda terminal, group: given.append(group))
        self.patch(os, "getpgrp", lambda: 5)
        self.patch(signal, "pthread_sigmask", lambda how, numbers: None)
        with terminal_restored():
            pass
        return given

    def test_taken(self) -> None:
        """A shell took it, and ended."""
        self.assertEqual(self.restored(5, 9), [5])

    def test_not_taken(self) -> None:
        self.assertEqual(self.restored(5, 5), [])

    def test_background(self) -> None:
        """A program in the background has no terminal to return."""
        self.assertEqual(self.restored(8, 9), [])

    def test_no_terminal(self) -> None:
        def refused(path: str, flags: int) -> int:
            raise OSError

        self.patch(os, "open", refused)
        entered = False
        with terminal_restored():
            entered = True
        self.assertTrue(entered)
