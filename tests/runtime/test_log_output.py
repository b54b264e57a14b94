"""Tests for L{egress.runtime.log_output}."""

from __future__ import annotations

import io
import json
import os
import signal
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.model.log_format import LogFormat
from egress.runtime.log_output import log_observer
from tests.cli.running import Terminal
from tests.files import make_directory

TEXT, JSON = LogFormat.TEXT, LogFormat.JSON


class ObserverTests(SynchronousTestCase):
    """The observer depends on the format, the options of twistd, and the terminal."""

    def setUp(self) -> None:
        self.directory = make_directory(self)

    def observe(self, log_format: LogFormat, out: Any = None, **parent: Any) -> Any:
        return log_observer(log_format, {"nodaemon": True, **parent}, {}, out or io.StringIO())

    def write(self, observer: Any) -> None:
        Logger(namespace="egress.x", observer=observer).info("it is {what}", what="x")

    def test_own_format_of_twistd(self) -> None:
        """Text that is not for a terminal is written by twistd."""
        self.assertIsNone(self.observe(TEXT))
        for parent in ({"logfile": "x.log"}, {"syslog": True}, {"nodaemon": False}, {"logger": print}):
            with self.subTest(parent):
                self.assertIsNone(self.observe(TEXT, Terminal(), **parent))
        self.assertIsNone(self.observe(JSON, logger=print))
        self.assertIsNone(log_observer(JSON, None, {}, io.StringIO()))
        self.assertIsNone(log_observer(JSON, {}, {}, io.StringIO()))

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
