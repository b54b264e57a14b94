"""Tests for L{egress.runtime.terminal}."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import attrs
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.terminal import StartFailed, Terminal


class Ascii(io.StringIO):
    """A terminal that supports only ASCII."""

    encoding = "ascii"


class TerminalTests(SynchronousTestCase):
    """The start messages go to the terminal or to the log."""

    def terminal(self, foreground: bool = True, pidfile: str | None = None, out: io.StringIO | None = None) -> Any:
        return Terminal(
            program="egressproxy",
            foreground=foreground,
            out=io.StringIO() if out is None else out,
            err=io.StringIO(),
            pidfile=pidfile,
        )

    def test_foreground(self) -> None:
        terminal = self.terminal()
        terminal.say("one\ntwo\n")
        terminal.complain("three")
        self.assertEqual((terminal.out.getvalue(), terminal.err.getvalue()), ("one\ntwo\n", "egressproxy: three\n"))

    def test_log(self) -> None:
        """Where the log has only records, the message is one of them; an error still goes to standard error."""
        terminal = attrs.evolve(self.terminal(), logs=True)
        with capturedLogs() as events:
            terminal.say("one\ntwo\n")
        terminal.complain("three")
        self.assertEqual([event["text"] for event in events], ["one\ntwo"])
        self.assertEqual((terminal.out.getvalue(), terminal.err.getvalue()), ("", "egressproxy: three\n"))

    def test_daemon(self) -> None:
        terminal = self.terminal(foreground=False)
        with capturedLogs() as events:
            terminal.say("one {two}\n")
            terminal.complain("three")
        self.assertEqual((events[0]["text"], events[1]["line"]), ("one {two}", "three"))
        self.assertEqual((terminal.out.getvalue(), terminal.err.getvalue()), ("", ""))

    def test_unsupported_characters(self) -> None:
        terminal = self.terminal(out=Ascii())
        terminal.say("/home/j\u00fcrgen\udcff\n")
        self.assertEqual(terminal.out.getvalue(), "/home/j\\xfcrgen\\udcff\n")

    def test_closed(self) -> None:
        terminal = self.terminal()
        terminal.out.close()
        terminal.say("one")
        self.assertTrue(terminal.out.closed)

    def test_of(self) -> None:
        for parent, foreground, pidfile in (
            (None, True, None),
            ({}, True, None),
            ({"nodaemon": 0, "pidfile": "twistd.pid"}, False, "twistd.pid"),
            ({"nodaemon": True, "pidfile": ""}, True, ""),
        ):
            with self.subTest(parent):
                terminal = Terminal.of("egressproxy", parent)
                self.assertEqual((terminal.foreground, terminal.pidfile), (foreground, pidfile))
                self.assertIs(terminal.out, sys.stdout)
                self.assertIs(terminal.err, sys.stderr)

    def test_give_up(self) -> None:
        pidfile = Path(self.mktemp())
        pidfile.write_text("1")
        for name in (str(pidfile), str(pidfile), ""):
            with self.subTest(name):
                terminal = self.terminal(pidfile=name)
                with self.assertRaises(SystemExit) as caught:
                    terminal.give_up("out of order")
                self.assertEqual(caught.exception.code, 1)
                self.assertEqual(terminal.err.getvalue(), "egressproxy: out of order\n")
                self.assertFalse(pidfile.exists())

    def test_daemon_gives_up(self) -> None:
        terminal = self.terminal(foreground=False, pidfile="twistd.pid")
        with self.assertRaises(StartFailed) as caught:
            terminal.give_up("out of order")
        self.assertEqual(str(caught.exception), "out of order")
