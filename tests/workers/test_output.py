"""Tests for L{egress.workers.output}."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import Logger, LogLevel, capturedLogs, textFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.log_lines import json_observer, record_of
from egress.workers.output import WorkerLog


class WorkerLogTests(SynchronousTestCase):
    """The records of a worker in the log of the supervisor."""

    def setUp(self) -> None:
        self.log = WorkerLog("2")

    def written(self, line: bytes) -> list[Any]:
        with capturedLogs() as events:
            self.log.write(line)
        return list(events)

    def worker(self, method: str, *arguments: object, **fields: object) -> bytes:
        """Return the line that a worker writes for a record."""
        out = io.StringIO()
        getattr(Logger(namespace="egress.x", observer=json_observer(out)), method)(*arguments, **fields)
        return out.getvalue().encode().rstrip(b"\n")

    def test_levels(self) -> None:
        """A record keeps its level, its module and its fields."""
        for level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical):
            line = self.worker(level.name, "it is {what}", what="x")
            (event,) = self.written(line)
            self.assertEqual((event["log_level"], event["log_namespace"]), (level, "egress.x"))
            self.assertEqual(record_of(event), {**json.loads(line), "worker": 2})
            self.assertEqual(self.log.last, "it is x")

    def test_text(self) -> None:
        """In the format of twistd, the record has the module and the level of the worker, and its traceback."""
        out = io.StringIO()
        (event,) = self.written(self.worker("failure", "it failed", Failure(ValueError("no"))))
        textFileLogObserver(out)(event)
        self.assertIn("[egress.x#critical] worker 2: it failed\n\tTraceback", out.getvalue())
        self.assertIn("ValueError: no", out.getvalue())

    def test_other_output(self) -> None:
        """The last words of an interpreter are no record."""
        for line, text in ((b"Fatal Python error \xff", "Fatal Python error \ufffd"), (b'{"level": "info"}', None)):
            (event,) = self.written(line)
            self.assertEqual(event["log_level"], LogLevel.warn)
            self.assertEqual(event["text"], text or line.decode())
            self.assertEqual(self.log.last, event["text"])

    def test_unknown_level(self) -> None:
        record = {"time": "", "level": "fatal", "logger": "x", "message": "hello"}
        (event,) = self.written(json.dumps(record).encode())
        self.assertEqual(event["log_level"], LogLevel.info)
