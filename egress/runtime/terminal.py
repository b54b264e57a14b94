"""The terminal of the user who starts a program."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NoReturn, TextIO

import attrs
from twisted.logger import Logger

_log = Logger()


class StartFailed(Exception):
    """The program cannot start."""


@attrs.frozen(kw_only=True)
class Terminal:
    """The terminal of the user who starts a program.

    The streams are the streams of the process before C{twistd} redirects the output to the log and adds a time to each
    line.  Text for the clipboard needs lines without a prefix.

    @ivar program: the name of the program, which precedes errors.
    @ivar foreground: whether the output is visible; a daemon has only its log.
    @ivar out: standard output.
    @ivar err: standard error.
    @ivar logs: whether messages are records of the log also in the foreground.
    @ivar pidfile: the file that C{twistd} wrote, and does not remove when the program exits with C{SystemExit}.
    """

    program: str
    foreground: bool
    out: TextIO
    err: TextIO
    logs: bool = False
    pidfile: str | None = None

    @classmethod
    def of(cls, program: str, parent: Mapping[str, Any] | None) -> Terminal:
        """Create it from the options of C{twistd}; C{twist} has no such options, and stays in the foreground."""
        options = {} if parent is None else parent
        return cls(
            program=program,
            foreground=bool(options.get("nodaemon", True)),
            out=sys.stdout,
            err=sys.stderr,
            pidfile=options.get("pidfile"),
        )

    def say(self, text: str) -> None:
        """Print a message."""
        if self.foreground and not self.logs:
            _print(self.out, text)
        else:
            _log.info("{text}", text=text.rstrip())

    def complain(self, line: str) -> None:
        """Print an error."""
        if self.foreground:
            _print(self.err, f"{self.program}: {line}\n")
        else:
            _log.critical("{line}", line=line)

    def end(self, lines: Iterable[str], status: int) -> NoReturn:
        """Print lines, and end the process, which has not become a daemon yet.

        @raise SystemExit: with the status.
        """
        _print(self.out, "".join(f"{line}\n" for line in lines))
        raise SystemExit(status)

    def give_up(self, line: str) -> NoReturn:
        """End the starting process with status 1.

        @raise SystemExit: in the foreground, after the error is printed.
        @raise StartFailed: in a daemon.
        """
        if not self.foreground:
            # twistd passes the error to the process that waits for the daemon, and cleans up.
            raise StartFailed(line)
        self.complain(line)
        self.tidy()
        raise SystemExit(1)

    def tidy(self) -> None:
        """Remove the files that C{twistd} would leave behind."""
        if self.pidfile:
            # In a container the next process has the same id, and would treat itself as the running one.
            with suppress(OSError):
                os.unlink(self.pidfile)


def _print(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    # A closed terminal does not stop the service.
    with suppress(OSError, ValueError):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
