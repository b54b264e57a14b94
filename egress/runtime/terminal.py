"""Where the one who starts a program reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn, TextIO

import attrs
from twisted.logger import Logger

_log = Logger()


class StartFailed(Exception):
    """The program cannot start."""


@attrs.frozen
class Terminal:
    """Where the one who starts a program reads.

    The streams are those of the process before C{twistd} sends what is printed to the log, and adds a time to each
    line: what is to be pasted must stand alone.

    @ivar program: its name, which stands before complaints.
    @ivar foreground: whether somebody reads them; a daemon has its log only.
    @ivar pidfile: what C{twistd} wrote, and does not remove when it is left by L{SystemExit}.
    """

    program: str
    foreground: bool
    out: TextIO
    err: TextIO
    pidfile: str | None = None

    @classmethod
    def of(cls, program: str, parent: Mapping[str, Any] | None) -> Terminal:
        """Find out from the options of C{twistd}; C{twist} has no such option, and stays in the foreground."""
        options = {} if parent is None else parent
        return cls(program, bool(options.get("nodaemon", True)), sys.stdout, sys.stderr, options.get("pidfile"))

    def say(self, text: str) -> None:
        """Tell what is to be known."""
        if self.foreground:
            _print(self.out, text)
        else:
            _log.info("{text}", text=text.rstrip())

    def complain(self, line: str) -> None:
        """Tell what went wrong."""
        if self.foreground:
            _print(self.err, f"{self.program}: {line}\n")
        else:
            _log.critical("{line}", line=line)

    def give_up(self, line: str) -> NoReturn:
        """End the process that is being started, with status 1."""
        if not self.foreground:
            # twistd passes it to the process that waits for the daemon, and cleans up.
            raise StartFailed(line)
        self.complain(line)
        self.tidy()
        raise SystemExit(1)

    def tidy(self) -> None:
        """Remove what C{twistd} would leave behind."""
        if self.pidfile:
            # In a container the next process has the same number, and would take itself for the one that runs.
            with suppress(OSError):
                os.unlink(self.pidfile)


def _print(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    # A closed terminal is no reason not to serve.
    with suppress(OSError, ValueError):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
