"""The choice of the log's observer: its format, its lowest level, and the stream to which it is written.

C{twistd} takes an observer from its command line (C{--logger}), or from a component of the application
(C{twisted.logger.ILogObserver}), or makes its own from C{--logfile} and C{--syslog}.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from egress.model.converters import ConfigError
from egress.model.log_format import LogFormat, LogThreshold
from egress.runtime.colors import Painter
from egress.runtime.log_lines import json_observer, terminal_observer

# The name that twistd uses for standard output, and its default for a daemon.
_STDOUT: Final = "-"
_LOGFILE: Final = "twistd.log"
# The beginning of a message of twisted.plugin.
_NO_PLUGIN_CACHE: Final = "Unable to write to plugin cache"


def log_observer(
    format: LogFormat,  # noqa: A002 - the name of the option
    threshold: LogThreshold,
    parent: Mapping[str, Any] | None,
    environ: Mapping[str, str],
    out: TextIO,
) -> ILogObserver | None:
    """Make the observer of the log.

    @param format: the format that the configuration selects.
    @param threshold: the lowest level of the records.
    @param parent: the options of C{twistd}; C{None} for C{twist}, which has its own options for the log.
    @param environ: the environment, for colors.
    @param out: standard output.
    @return: C{None}: the observer of C{twistd}.
    @raise ConfigError: if the format cannot be combined with the other options.
    """
    if parent is None or "nodaemon" not in parent or parent.get("logger"):
        return None
    observer = _observer(format, parent, environ, out)
    return None if observer is None else FilteringLogObserver(above(threshold, observer), [_WithoutPluginCache()])


def above(threshold: LogThreshold, observer: ILogObserver) -> ILogObserver:
    """Make an observer that passes on only the records from a level on."""
    level = LogLevel.lookupByName(threshold.value)
    return FilteringLogObserver(observer, [LogLevelFilterPredicate(defaultLogLevel=level)])


@implementer(ILogFilterPredicate)
class _WithoutPluginCache:
    """Leaves out that twistd cannot write its plugin cache: a package is usually installed by another user."""

    def __call__(self, event: LogEvent) -> Any:
        is_noise = str(event.get("format", "")).startswith(_NO_PLUGIN_CACHE)
        return PredicateResult.no if is_noise else PredicateResult.maybe


def _observer(
    format: LogFormat,  # noqa: A002 - the name of the option
    parent: Mapping[str, Any],
    environ: Mapping[str, str],
    out: TextIO,
) -> ILogObserver | None:
    foreground, logfile = bool(parent["nodaemon"]), parent.get("logfile") or ""
    to_out, json = logfile in ("", _STDOUT) if foreground else logfile == _STDOUT, format is LogFormat.JSON
    if parent.get("syslog"):
        if json:
            raise ConfigError(
                "--log-format", "json", "the system log has its own format: remove it, or remove --syslog"
            )
        # As in twistd, whose observer writes records of every level.
        syslog = import_module("twisted.python.syslog").SyslogObserver(parent.get("prefix") or "twisted")
        return LegacyLogObserverWrapper(syslog.emit)
    if to_out and not foreground:
        if json:
            raise ConfigError("--log-format", "json", "a daemon has no standard output: name a file with --logfile")
        # twistd has the error message.
        return None
    if to_out and not json and not logfile and out.isatty():
        return terminal_observer(out, Painter.of(out, environ))
    stream = out if to_out else _log_file(logfile or _LOGFILE)
    return json_observer(stream) if json else textFileLogObserver(stream)


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
