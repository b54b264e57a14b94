"""The log of a worker: its records, which the supervisor writes at their level."""

from __future__ import annotations

from typing import Any, Final

from twisted.logger import Logger, LogLevel

from egress.runtime.log_lines import WORKER_RECORD, parse_record

_log = Logger()

_LEVELS: Final = {level.name: level for level in LogLevel.iterconstants()}


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
