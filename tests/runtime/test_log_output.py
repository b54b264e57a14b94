"""Tests for L{egress.runtime.log_output}."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from importlib import import_module
from typing import Any
from unittest import mock

from twisted.logger import Logger, capturedLogs
from twisted.plugin import getCache
from twisted.python import syslog
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.model.log_format import LogFormat, LogThreshold
from egress.runtime.log_output import log_observer
from tests.cli.running import Terminal
from tests.files import make_directory

TEXT, JSON = LogFormat.TEXT, LogFormat.JSON
INFO = LogThreshold.INFO


class ObserverTests(SynchronousTestCase):
    """The observer depends on the format, the options of twistd, and the terminal."""

    def setUp(self) -> None:
        self.directory = make_directory(self)

    def observe(self, log_format: LogFormat, out: Any = None, level: LogThreshold = INFO, **parent: Any) -> Any:
        return log_observer(log_format, level, {"nodaemon": True, **parent}, {}, out or io.StringIO())

    def write(self, observer: Any) -> None:
        Logger(namespace="egress.x", observer=observer).info("it is {what}", what="x")
        Logger(namespace="egress.x", observer=observer).debug("details")

    def test_twistd(self) -> None:
        """The observer that a user of twistd selects takes precedence, and twist has its own options."""
        self.assertIsNone(self.observe(TEXT, Terminal(), logger=print))
        self.assertIsNone(self.observe(JSON, logger=print))
        self.assertIsNone(log_observer(JSON, INFO, None, {}, io.StringIO()))
        self.assertIsNone(log_observer(JSON, INFO, {}, {}, io.StringIO()))
        self.assertIsNone(self.observe(TEXT, nodaemon=False, logfile="-"), "twistd has the error message")

    def test_text(self) -> None:
        """Text that is not for a terminal has the format of twistd."""
        for out, logfile in ((io.StringIO(), ""), (io.StringIO(), "-"), (Terminal(), "-")):
            self.write(self.observe(TEXT, out, logfile=logfile))
            self.assertRegex(out.getvalue(), r"^\S+ \[egress\.x#info\] it is x\n$")
        path = self.directory / "egress.log"
        self.write(self.observe(TEXT, Terminal(), logfile=str(path)))
        self.assertRegex(path.read_text("utf-8"), r"^\S+ \[egress\.x#info\] it is x\n$")

    def test_levels(self) -> None:
        for level, expected in ((LogThreshold.DEBUG, 2), (INFO, 1), (LogThreshold.WARN, 0), (LogThreshold.ERROR, 0)):
            for log_format in (TEXT, JSON):
                out = io.StringIO()
                with self.subTest(level, format=log_format):
                    self.write(self.observe(log_format, out, level))
                    self.assertEqual(out.getvalue().count("\n"), expected)

    def test_plugin_cache(self) -> None:
        """Twisted reports at each start that another user installed it."""
        directory = self.directory / "cached"
        directory.mkdir()
        (directory / "__init__.py").write_text("", "utf-8")
        (directory / "one.py").write_text("", "utf-8")
        self.patch(sys, "path", [str(self.directory.absolute()), *sys.path])
        self.addCleanup(sys.modules.pop, "cached", None)
        self.addCleanup(sys.modules.pop, "cached.one", None)
        for log_format in (TEXT, JSON):
            out = io.StringIO()
            observer = self.observe(log_format, out)
            with mock.patch.object(FilePath, "setContent", side_effect=PermissionError(13, "no")):
                with capturedLogs() as events:
                    getCache(import_module("cached"))
                self.assertEqual([event["errno"] for event in events], [13])
                for event in events:
                    observer(event)
            self.assertEqual(out.getvalue(), "")

    def test_system_log(self) -> None:
        """The system log gets the records from the level on."""
        lines: list[tuple[int, str]] = []
        self.patch(syslog.SyslogObserver, "openlog", lambda *_: None)
        self.patch(syslog.SyslogObserver, "syslog", lambda _, priority, text: lines.append((priority, text)))
        self.write(self.observe(TEXT, Terminal(), syslog=True, prefix="egress"))
        self.assertEqual([text for _, text in lines], ["[-] it is x"])

    def test_terminal(self) -> None:
        out = Terminal()
        self.write(self.observe(TEXT, out))
        self.assertRegex(out.getvalue(), r"^\x1b\[2m\d\d:\d\d:\d\d\.\d{3}\x1b\[0m info  it is x\n$")

    def test_json(self) -> None:
        for logfile in ("", "-", None):
            for out in (io.StringIO(), Terminal()):
                self.write(self.observe(JSON, out, logfile=logfile))
                self.assertEqual(json.loads(out.getvalue())["message"], "it is x")

    def test_file(self) -> None:
        """A log file rotates when the process receives SIGUSR1."""
        previous = signal.getsignal(signal.SIGUSR1)
        self.addCleanup(signal.signal, signal.SIGUSR1, previous)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        path = self.directory / "egress.log"
        observer = self.observe(JSON, logfile=str(path), nodaemon=False)
        self.write(observer)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.write(observer)
        self.assertEqual(json.loads(path.read_text())["message"], "it is x")
        self.assertEqual(json.loads(path.with_name("egress.log.1").read_text())["message"], "it is x")

    def test_rejected(self) -> None:
        for parent in ({"syslog": True}, {"nodaemon": False, "logfile": "-"}):
            with self.subTest(parent):
                error = self.assertRaises(ConfigError, self.observe, JSON, **parent)
                self.assertEqual(error.option, "--log-format")
