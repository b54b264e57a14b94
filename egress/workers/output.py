"""The output of a worker: its lines, and the records of its log, which the supervisor writes at their level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger, LogLevel

from egress.runtime.log_lines import WORKER_RECORD, parse_record

_log = Logger()

# Longer than any line that a worker writes.
_LONGEST_LINE: Final = 1024 * 1024
_LEVELS: Final = {level.name: level for level in LogLevel.iterconstants()}


class Lines:
    """Splits a byte stream into lines.

    @param take: is called with each line, without its line feed.
    @param lost: is called for a line that is incomplete or too long.
    """

    def __init__(self, take: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._take = take
        self._lost = lost
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """Receive a piece."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            else:
                self._take(line)
        if len(self._rest) > _LONGEST_LINE:
            if not self._skipping:
                self._lost()
            self._skipping = True
            self._rest = b""

    def end(self) -> None:
        """End the stream."""
        if self._rest and not self._skipping:
            self._lost()
        self._rest = b""


class WorkerLog:
    """Writes the records of a worker to the log of the supervisor, each with the level and the module of the worker.

    @param number: the number of the worker.
    @ivar last: the text of the last record.
    """

    def __init__(self, number: str) -> None:
        self.last = ""
        self._number = number

    def write(self, line: bytes) -> None:
        """Write a line of the worker's standard error."""
        text = line.decode("utf-8", "replace")
        record = parse_record(text)
        if record is None:
            # Not a record: for example, the interpreter has ended.
            self.last = text
            _log.warn("worker {number}: {text}", number=self._number, text=text)
            return
        self.last = record["message"]
        level = _LEVELS.get(record["level"], LogLevel.info)
        Logger(namespace=str(record["logger"])).emit(
            level, "worker {number}: {text}", number=self._number, text=_text_of(record), **{WORKER_RECORD: record}
        )


def _text_of(record: dict[str, Any]) -> str:
    exception = record.get("exception")
    traceback = exception.get("traceback") if isinstance(exception, dict) else None
    return "\n".join(part for part in (record["message"], traceback) if part)
