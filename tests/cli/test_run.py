"""Tests for L{egress.cli.run}."""

from __future__ import annotations

import io
import sys
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli
from egress.cli import run as module
from egress.config.model import ConfigError, Mode, ProxyConfig
from egress.launch.runner import CannotRun
from egress.policy.parse.load import load_policy
from tests.files import make_directory
from tests.observability.records import ALLOWED, REFUSED


class RunCommandTests(SynchronousTestCase):
    """The configuration, the exit status and the summary."""

    def setUp(self) -> None:
        self.result: Any = 0
        self.record = REFUSED
        self.patch(module, "run", lambda start: start(None))
        self.patch(module, "run_behind_proxy", self.run_behind_proxy)

    def run_behind_proxy(
        self, reactor: object, config: ProxyConfig, command: list[str], environ: Any, *, directory: Any, summary: Any
    ) -> int:
        self.config, self.command, self.directory = config, command, directory
        self.assertEqual(list(directory.iterdir()), [])
        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        summary.write(self.record)
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

    def test_report(self) -> None:
        directory = make_directory(self)
        for name, words in (("a.md", "| Requests |"), ("a.json", '"requests": 1')):
            path = directory / name
            self.assertEqual(self.egress("--quiet", "--report", str(path), "x")[1], f"egress: wrote {path}\n")
            self.assertIn(words, path.read_text())
        self.assertIn("write a file name that ends with .json or .md", self.egress("--report", "a", "x", status=125)[0])

    def test_learn(self) -> None:
        """It observes, and writes a policy of the forwarded requests."""
        path = make_directory(self) / "policy.toml"
        said = self.egress("--quiet", "--learn", str(path), "x")[1]
        self.assertEqual(said, f"egress: {path}: not written, because no request was forwarded\n")
        self.assertIs(self.config.mode, Mode.OBSERVE)
        self.record = ALLOWED
        self.egress("--quiet", "--learn", str(path), "x")
        self.assertEqual(len(load_policy(path).rules), 1)
        self.assertIn("specify a new file", self.egress("--learn", str(path), "x", status=125)[0])

    def test_lock(self) -> None:
        """A new destination is an error, unless the command has one."""
        path = make_directory(self) / "egress.lock"
        self.record = ALLOWED
        options = ("--quiet", "--lock", str(path), "x")
        self.assertEqual(self.egress(*options)[1], f"{path}: recorded 1 destination\n")
        self.assertEqual(self.egress(*options)[1], f"{path}: no new destinations\n")
        self.record = attrs.evolve(ALLOWED, url="https://other.test/")
        self.assertIn("+ POST    https://other.test", self.egress(*options, status=1)[1])
        self.result = 7
        self.egress(*options, status=7)
        path.write_text("x")
        self.assertIn(str(path), self.egress(*options, status=125)[0])

    def test_a_file_that_cannot_be_written(self) -> None:
        """The result is that of the command."""
        self.result = 3
        said = self.egress("--quiet", "--report", "/absent/a.md", "x", status=3)[1]
        self.assertEqual(said, "egress: /absent/a.md: No such file or directory; specify a writable file\n")

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
