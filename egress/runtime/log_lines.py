"""Records of the log as lines: JSON for programs, and text for people at a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from string import Formatter
from typing import Any, Final, TextIO

from twisted.logger import FileLogObserver, LogEvent, LogLevel, formatEvent

from egress.runtime.colors import Color, Painter

WORKER_RECORD: Final = "worker_record"
"""The key of an event with the record that a worker wrote, as a mapping."""


class _Absent:
    """A value that is missing: C{-} in text, and C{null} in JSON."""

    def __str__(self) -> str:
        return "-"


ABSENT: Final = _Absent()
"""The value of a field that an event does not have."""

_LEVELS: Final[Mapping[object, Color]] = {
    LogLevel.debug: Color.DIM,
    LogLevel.warn: Color.YELLOW,
    LogLevel.error: Color.RED,
    LogLevel.critical: Color.RED,
}
_PLAIN: Final = (bool, int, float, str)


def record_of(event: LogEvent) -> dict[str, Any]:
    """Convert an event to a record, whose values JSON can express.

    The C{fields} of a record are the values in the text of its message.
    """
    written = event.get(WORKER_RECORD)
    if written is not None:
        return {**written, "worker": int(event["number"])}
    level = event.get("log_level")
    record: dict[str, Any] = {
        "time": _time(event).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level.name if level is not None else "info",
        "logger": event.get("log_namespace", ""),
        "message": formatEvent(event),
    }
    fields = {name: _plain(event[name]) for name in _names(event) if name in event}
    if fields:
        record["fields"] = fields
    failure = event.get("log_failure")
    if failure is not None:
        record["exception"] = {
            "type": failure.type.__name__,
            "message": str(failure.value),
            "traceback": failure.getTraceback(),
        }
    return record


def parse_record(line: str) -> dict[str, Any] | None:
    """Parse a line of L{json_observer}; C{None}: it is another line, for example of a crash."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    known = isinstance(record, dict) and isinstance(record.get("message"), str)
    return record if known and {"time", "level", "logger"} <= record.keys() else None


def json_observer(stream: TextIO) -> FileLogObserver:
    """Make an observer that writes one JSON object for each record, on one line; an empty record has no line."""
    return FileLogObserver(stream, _json_line)


def _json_line(event: LogEvent) -> str | None:
    record = record_of(event)
    return json.dumps(record) + "\n" if record["message"] or "exception" in record else None


def terminal_observer(stream: TextIO, painter: Painter) -> FileLogObserver:
    """Make an observer that writes short lines: the time in UTC, the level and the message."""
    return FileLogObserver(stream, lambda event: _terminal_line(event, painter))


def _terminal_line(event: LogEvent, painter: Painter) -> str | None:
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is not None:
        text = f"{text}\n{failure.getTraceback()}".strip()
    if not text:
        return None
    level = event.get("log_level") or LogLevel.info
    time = painter.paint(f"{_time(event):%H:%M:%S}.{_time(event).microsecond // 1000:03}", Color.DIM)
    name = level.name if level is not LogLevel.critical else "error"
    color = _LEVELS.get(level)
    first, *others = text.splitlines() or [""]
    marked = f"{name:<5}" if color is None else painter.paint(f"{name:<5}", color)
    return "\n".join([f"{time} {marked} {_visible(first)}", *(f"  {_visible(line)}" for line in others)]) + "\n"


def _time(event: LogEvent) -> datetime:
    return datetime.fromtimestamp(event.get("log_time", 0.0), timezone.utc)


def _names(event: LogEvent) -> list[str]:
    try:
        found = [name for _, name, _, _ in Formatter().parse(event.get("log_format") or "") if name]
    except ValueError:
        return []
    return [name for name in found if name.isidentifier() and not name.startswith("log_")]


def _plain(value: object) -> object:
    if value is None or value is ABSENT:
        return None
    return value if isinstance(value, _PLAIN) else str(value)


def _visible(text: str) -> str:
    """Escape characters that control a terminal: clients choose the URLs in messages."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
