"""Tests for L{egress.cli.run}."""

from __future__ import annotations

import io
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli
from egress.cli import run as module
from egress.config.model import ConfigError, ProxyConfig
from egress.launch.runner import CannotRun
from tests.observability.records import REFUSED


class RunCommandTests(SynchronousTestCase):
    """The configuration, the exit status and the summary."""

    def setUp(self) -> None:
        self.result: Any = 0
        self.patch(module, "run", lambda start: start(None))
        self.patch(module, "run_behind_proxy", self.run_behind_proxy)

    def run_behind_proxy(
        self, reactor: object, config: ProxyConfig, command: list[str], environ: Any, *, directory: Any, summary: Any
    ) -> int:
        self.config, self.command, self.directory = config, command, directory
        self.assertEqual(list(directory.iterdir()), [])
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        summary.write(REFUSED)
        if isinstance(self.result, Exception):
            raise self.result
        result: int = self.result
        return result

    def egress(self, *arguments: str, status: int = 0, **environ: str) -> tuple[str, str]:
        errors, summary = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", summary)
        self.assertEqual(cli.main(["run", *arguments], environ, io.StringIO(), errors), status)
        return errors.getvalue(), summary.getvalue()

    def test_command(self) -> None:
        """It listens on a free port, and stops soon after the command."""
        self.egress("--", "curl", "--policy", "x")
        self.assertEqual(self.command, ["curl", "--policy", "x"])
        self.assertEqual([str(each.endpoint) for each in self.config.listen], ["tcp:0:interface=127.0.0.1"])
        self.assertEqual(self.config.limits.drain_timeout, 1)
        self.assertFalse(self.directory.exists())

    def test_options(self) -> None:
        self.egress("--listen", "tcp:81", "--drain-timeout=9s", "--authz-url", "http://a.test", "--", "x")
        self.assertEqual((self.config.authz_url, self.config.limits.drain_timeout), ("http://a.test", 9))
        self.assertEqual(self.config.listen[0].endpoint, "tcp:81")
        self.egress("x", "--help", EGRESS_AUTHZ_URL="http://b.test")
        self.assertEqual((self.config.authz_url, self.command), ("http://b.test", ["x", "--help"]))

    def test_summary(self) -> None:
        self.assertEqual(
            self.egress("--", "a b", "c"),
            ("", "\negress run 'a b': 1 request, 0 allowed, 1 refused\n  bad-request:  : two Host fields\n"),
        )
        self.assertEqual(self.egress("--quiet", "--", "x"), ("", ""))

    def test_status(self) -> None:
        self.result = 137
        self.egress("x", status=137)

    def test_faults(self) -> None:
        for result, status, words in (
            (CannotRun("x: command not found", 127), 127, "egress: x: command not found\n"),
            (ConfigError("--ca-dir", "/a", "make it writable"), 125, "egress: --ca-dir '/a': make it writable\n"),
        ):
            self.result = result
            self.assertEqual(self.egress("x", status=status), (words, ""))

    def test_invalid_command_lines(self) -> None:
        for arguments, words in (
            ((), "specify a command, as in: egress run -- curl"),
            (("--",), "specify a command"),
            (("--workers", "2", "x"), "--workers '2': "),
            (("--listen", "unix:/a", "x"), "--listen 'unix:/a': the first listener must be tcp:"),
            (("--authz-via-upstream", "x"), "has no effect without"),
        ):
            with self.subTest(arguments):
                self.assertIn(words, self.egress(*arguments, status=125)[0])
