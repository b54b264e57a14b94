"""The choice of the log's observer: its format, and the stream to which it is written.

C{twistd} takes an observer from its command line (C{--logger}), or from a component of the application
(C{twisted.logger.ILogObserver}), or makes its own from C{--logfile} and C{--syslog}.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TextIO

from twisted.logger import ILogObserver
from twisted.python.logfile import LogFile

from egress.model.converters import ConfigError
from egress.model.log_format import LogFormat
from egress.runtime.colors import Painter
from egress.runtime.log_lines import json_observer, terminal_observer

# The name that twistd uses for standard output, and its default for a daemon.
_STDOUT: Final = "-"
_LOGFILE: Final = "twistd.log"


def log_observer(
    format: LogFormat,  # noqa: A002 - the name of the option
    parent: Mapping[str, Any] | None,
    environ: Mapping[str, str],
    out: TextIO,
) -> ILogObserver | None:
    """Make the observer of the log.

    @param format: the format that the configuration selects.
    @param parent: the options of C{twistd}; C{None} for C{twist}, which has its own option for the format.
    @param environ: the environment, for colors.
    @param out: standard output.
    @return: C{None}: the observer of C{twistd}.
    @raise ConfigError: if the format cannot be combined with the other options.
    """
    if parent is None or "nodaemon" not in parent or parent.get("logger"):
        return None
    foreground, logfile = bool(parent["nodaemon"]), parent.get("logfile") or ""
    if format is LogFormat.TEXT:
        on_terminal = foreground and not logfile and not parent.get("syslog") and out.isatty()
        return terminal_observer(out, Painter.of(out, environ)) if on_terminal else None
    if parent.get("syslog"):
        raise ConfigError("--log-format", "json", "the system log has its own format: remove it, or remove --syslog")
    if foreground and logfile in ("", _STDOUT):
        return json_observer(out)
    if logfile == _STDOUT:
        raise ConfigError("--log-format", "json", "a daemon has no standard output: name a file with --logfile")
    return json_observer(_log_file(logfile or _LOGFILE))


def _log_file(path: str) -> Any:
    """Open a log file, as C{twistd} does: it rotates at 1 MB, and when the process receives SIGUSR1."""
    file = LogFile.fromFullPath(path)  # type: ignore[no-untyped-call]

    def rotate(number: int, frame: object) -> None:
        # The handler of a signal runs between two steps of the reactor's loop.
        file.rotate()

    with suppress(ValueError):
        # Only the main thread has signals.
        if not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, rotate)
    return file
