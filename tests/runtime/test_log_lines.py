"""Tests for L{egress.runtime.log_lines}."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import LogEvent, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.colors import Painter
from egress.runtime.log_lines import ABSENT, json_observer, parse_record, record_of, terminal_observer


def event(format_: str = "it is {what}", level: Any = LogLevel.warn, **values: Any) -> LogEvent:
    """An event of a logger."""
    return {"log_format": format_, "log_level": level, "log_namespace": "egress.x", "log_time": 1.0625, **values}


def failure() -> Failure:
    """A failure with a traceback."""
    try:
        raise ValueError("no\nsuch thing")
    except ValueError:
        return Failure()


class JsonTests(SynchronousTestCase):
    """Records as JSON."""

    def test_record(self) -> None:
        self.assertEqual(
            record_of(event(what="x\ny", secret="hunter2")),
            {
                "time": "1970-01-01T00:00:01.062Z",
                "level": "warn",
                "logger": "egress.x",
                "message": "it is x\ny",
                "fields": {"what": "x\ny"},
            },
        )

    def test_values(self) -> None:
        """A value that JSON does not have is its text."""
        record = record_of(event("{a} {b} {c} {d!r} {e.name} {log_namespace}", a=1, b=None, c=True, d=LogLevel.warn))
        self.assertEqual(record["fields"], {"a": 1, "b": None, "c": True, "d": "<LogLevel=warn>"})

    def test_no_format(self) -> None:
        """A record of the old interface, or one with a broken format, is still a record."""
        self.assertEqual(record_of({"log_time": 0.0}), {
            "time": "1970-01-01T00:00:00.000Z", "level": "info", "logger": "", "message": "",
        })  # fmt: skip
        self.assertNotIn("fields", record_of(event("{")))

    def test_absent_value(self) -> None:
        """It is readable in text, and null in JSON."""
        found = record_of(event(what=ABSENT))
        self.assertEqual((found["message"], found["fields"]), ("it is -", {"what": None}))

    def test_exception(self) -> None:
        found = record_of(event(what=1, log_failure=failure()))["exception"]
        self.assertEqual((found["type"], found["message"]), ("ValueError", "no\nsuch thing"))
        self.assertIn("Traceback", found["traceback"])

    def test_lines(self) -> None:
        """Each record is one line, which can be parsed again."""
        out = io.StringIO()
        json_observer(out)(event(what="a\nb\u2028c"))
        self.assertEqual(out.getvalue().count("\n"), 1)
        self.assertEqual(parse_record(out.getvalue()), record_of(event(what="a\nb\u2028c")))

    def test_empty(self) -> None:
        out = io.StringIO()
        json_observer(out)(event(""))
        self.assertEqual(out.getvalue(), "")

    def test_other_lines(self) -> None:
        for line in ("", "Traceback", "{}", "[]", '{"message": 1}', '{"message": "x"}', "3"):
            with self.subTest(line):
                self.assertIsNone(parse_record(line))

    def test_worker(self) -> None:
        """The record of a worker is written as it is, with the number of the worker."""
        record = record_of(event(what=1))
        outer = event("worker {number}: {text}", number="2", text="...", worker_record=record)
        self.assertEqual(record_of(outer), {**record, "worker": 2})
        self.assertEqual(json.loads(json.dumps(record_of(outer)))["worker"], 2)


class TerminalTests(SynchronousTestCase):
    """Records for a terminal."""

    def lines(self, record: LogEvent, colored: bool = False) -> str:
        out = io.StringIO()
        terminal_observer(out, Painter(colored))(record)
        return out.getvalue()

    def test_line(self) -> None:
        self.assertEqual(self.lines(event(what="x")), "00:00:01.062 warn  it is x\n")
        self.assertEqual(self.lines(event("x", LogLevel.critical)), "00:00:01.062 error x\n")
        self.assertEqual(self.lines({"log_format": "x", "log_time": 0.0}), "00:00:00.000 info  x\n")

    def test_nothing(self) -> None:
        self.assertEqual(self.lines(event("")), "")

    def test_control_characters(self) -> None:
        """Text of clients controls no terminal, and forges no line."""
        self.assertEqual(self.lines(event(what="\x1b[2Ja\nb")), "00:00:01.062 warn  it is \\x1b[2Ja\n  b\n")

    def test_colors(self) -> None:
        self.assertEqual(
            self.lines(event(what="x"), colored=True), "\x1b[2m00:00:01.062\x1b[0m \x1b[33mwarn \x1b[0m it is x\n"
        )
        self.assertIn(" info  x", self.lines(event("x", LogLevel.info), colored=True))

    def test_traceback(self) -> None:
        text = self.lines(event("it failed", LogLevel.critical, log_failure=failure()))
        self.assertTrue(text.startswith("00:00:01.062 error it failed\n  Traceback"), text)
