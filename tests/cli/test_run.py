"""Tests for L{egress.cli.run}."""

from __future__ import annotations

import io
import json
import socket
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.cli import main as cli
from egress.cli import run as module
from egress.client_settings.variables import ClientFiles
from egress.config.model import ConfigError, Mode, ProxyConfig
from egress.launch.isolate.sandbox import CannotIsolate
from egress.launch.runner import CannotRun
from egress.policy.parse.load import load_policy
from egress.tls.ca_source import ca_source
from tests.files import make_directory
from tests.launch.test_summary import DENIED
from tests.observability.records import ALLOWED, REFUSED


class RunCommandTests(SynchronousTestCase):
    """The configuration, the exit status and the summary."""

    def setUp(self) -> None:
        self.result: Any = 0
        self.record = REFUSED
        self.warning: str | None = None
        self.patch(module, "run", lambda start: start(None))
        self.patch(module, "run_behind_proxy", self.run_behind_proxy)

    def run_behind_proxy(
        self, reactor: object, config: ProxyConfig, command: list[str], environ: Any, *, directory: Any, summary: Any
    ) -> int:
        self.config, self.command, self.directory = config, command, directory
        self.assertEqual(list(directory.iterdir()), [])
        self.assertEqual(directory.stat().st_mode & 0o777, 0o755)
        summary.write(self.record)
        summary.add_warning(self.warning)
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
            (
                "",
                "\negress run 'a b': 1 request, 0 allowed, 1 refused\n  bad-request:  \n    reason: two Host fields\n",
            ),
        )
        self.assertEqual(self.egress("--quiet", "--", "x"), ("", ""))

    def test_colors(self) -> None:
        """Only for readers who want them; characters that control a terminal are escaped."""
        self.record = attrs.evolve(DENIED, url="https://a.test/\x1b[1m")
        said = self.egress("x", FORCE_COLOR="1")[1]
        self.assertIn("\x1b[31m  denied: GET https://a.test/", said)
        self.assertNotIn("\x1b[1m\n", said)
        self.assertNotIn("\x1b", self.egress("x")[1])

    def test_isolate(self) -> None:
        views: list[Any] = []

        def run_isolated(*arguments: Any, writable: Any, **named: Any) -> int:
            views.append(writable)
            return self.run_behind_proxy(*arguments, **named)

        self.patch(module, "run_isolated", run_isolated)
        directory = make_directory(self)
        self.egress("--isolate", "--", "x")
        self.egress("--isolate", "--isolate-fs", str(directory), "--isolate-fs", ".", "--", "x")
        self.assertEqual(views, [None, [directory.resolve(), Path.cwd()]])

    def test_fix(self) -> None:
        """It depends on the policy that decides."""
        self.record = attrs.evolve(DENIED, rule_id="closed")
        path = make_directory(self) / "policy.toml"
        path.write_text('version = 1\n[[rules]]\nname = "closed"\naction = "deny"\nreason = "no"\npaths = ["/a"]\n')
        for options, words in (
            (("--policy", str(path)), f"{path.name}:2):"),
            ((), "run again with --policy policy.toml"),
        ):
            self.assertIn(words, self.egress(*options, "x")[1])
        self.assertNotIn("To allow", self.egress("--authz-url", "http://a.test", "x")[1])

    def test_policy_urls(self) -> None:
        """The command could change the stored version."""
        for option in ("--policy", "--shadow-policy"):
            words = self.egress(option, "https://policies.test/p", "x", status=125)[0]
            self.assertIn("egress run needs a file", words)

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
        report = path.with_name("report.json")
        said = self.egress("--report", str(report), *options, status=1)[1]
        self.assertIn("+ POST    https://other.test", said)
        self.assertIn("add to the file:\n\n    POST    https://other.test\n", said)
        self.assertEqual(json.loads(report.read_text())["newDestinations"], ["POST    https://other.test"])
        self.result = 7
        self.egress(*options, status=7)
        path.write_text("x")
        self.assertIn(str(path), self.egress(*options, status=125)[0])

    def test_a_file_that_cannot_be_written(self) -> None:
        """The result is that of the command."""
        self.result = 3
        said = self.egress("--quiet", "--report", "/absent/a.md", "x", status=3)[1]
        self.assertEqual(said, "egress: /absent/a.md: No such file or directory; specify a writable file\n")

    def test_warnings(self) -> None:
        """The default audit store is in the state directory; a warning about it follows the command."""
        self.warning = "sqlite:/nowhere/audit.db cannot be written to"
        directory = make_directory(self).absolute()
        _, shown = self.egress("--ca-dir", str(directory), "true")
        self.assertEqual(self.config.audit_store, f"sqlite:{directory}/audit.db")
        self.assertTrue(shown.startswith(f"egress: {self.warning}\n"), shown)
        self.egress("--audit-store", "none", "true")
        self.assertIsNone(self.config.audit_store)

    def test_status(self) -> None:
        self.result = 137
        self.egress("x", status=137)

    def test_faults(self) -> None:
        for result, status, words in (
            (CannotRun("x: command not found", 127), 127, "egress: x: command not found\n"),
            (CannotIsolate("no namespaces"), 125, "egress: --isolate: no namespaces\n"),
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
            (("--isolate", "--listen", "tcp:81", "x"), "--isolate and --listen: "),
            (("--isolate", "--client-auth", __file__, "x"), "--isolate and --client-auth: "),
            (("--isolate-fs", "/", "x"), "--isolate-fs: has no effect without --isolate"),
            (("--isolate", "--isolate-fs", "/absent", "x"), "--isolate-fs '/absent': is not a directory"),
        ):
            with self.subTest(arguments):
                self.assertIn(words, self.egress(*arguments, status=125)[0])


class RunningProxyTests(SynchronousTestCase):
    """A command behind a proxy that runs already."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        ca_source(ProxyConfig(ca_dir=self.directory)).load_or_create(datetime.now(timezone.utc))
        self.patch(socket, "create_connection", lambda *_, **__: io.BytesIO())
        self.patch(module, "run", lambda start: start(None))
        self.patch(module, "run_client", self.run_client)

    def run_client(self, _: object, proxy: str, command: list[str], environ: Any, *, files: ClientFiles) -> int:
        if command == ["absent"]:
            raise CannotRun("absent: command not found", 127)
        self.proxy, self.command, self.files = proxy, command, files
        self.assertEqual(files.ca.read_bytes(), (self.directory / "ca.pem").read_bytes())
        return 7

    def egress(self, *arguments: str, status: int, **environ: str) -> tuple[str, str]:
        errors, summary = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", summary)
        arguments = ("run", "--ca-dir", str(self.directory), *arguments)
        self.assertEqual(cli.main(arguments, environ, io.StringIO(), errors), status)
        return errors.getvalue(), summary.getvalue()

    def test_command(self) -> None:
        """The environment variables of the proxy's options have no effect."""
        said = self.egress(
            "--proxy", "http://me:hunter2@p.test:1", "--", "curl", "x", status=7, EGRESS_POLICY="/absent"
        )
        self.assertEqual((self.proxy, self.command), ("http://me:hunter2@p.test:1", ["curl", "x"]))
        summary = "egress run curl: the audit log of the proxy http://REDACTED@p.test:1 has the requests\n"
        self.assertEqual(said, ("", f"\n{summary}"))
        self.assertFalse(self.files.ca.exists())
        self.assertEqual(self.egress("--proxy", "http://p.test:1", "--quiet", "x", status=7), ("", ""))

    def test_faults(self) -> None:
        for arguments, status, words in (
            (("--policy", "p.toml", "x"), 125, "--policy and --proxy: "),
            (("--upstream-proxy", "http://a.test:1", "x"), 125, "--upstream-proxy and --proxy: "),
            (("--lock", "egress.lock", "x"), 125, "--lock and --proxy: "),
            (("--isolate", "x"), 125, "--isolate and --proxy: "),
            (("--proxy", "p.test", "x"), 125, "--proxy 'p.test': write a URL"),
            (("--ca-dir", "/absent", "x"), 125, "/absent"),
            (("absent",), 127, "absent: command not found"),
        ):
            with self.subTest(arguments):
                self.assertIn(words, self.egress("--proxy", "http://p.test:1", *arguments, status=status)[0])
