"""Tests for L{egress.cli.doctor}."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Finding, Fix, error, fault, ok
from egress.cli import doctor as module
from egress.cli import main as cli
from egress.config.model import ProxyConfig
from egress.doctor.examination import Subject
from egress.doctor.names import NAMES
from egress.doctor.report import Report
from egress.tls.issuer import CaError
from tests.cli.running import Terminal

PROXY = "http://127.0.0.1:8080"
FIX = Fix("keytool -importcert", ("keytool", "-importcert"))


class DoctorCommandTests(SynchronousTestCase):
    """The command line, the exit status and the output."""

    def setUp(self) -> None:
        self.findings: list[Finding] = [ok("proxy", "responds")]
        self.failure: Exception | None = None
        self.patch(module, "run", lambda start: start(None))
        self.patch(module, "diagnosis", self.diagnosis)
        self.patch(module, "with_own_proxy", self.with_own_proxy)

    def diagnosis(self, reactor: object, subject: Subject, names: Collection[str], apply: Any, advance: Any) -> Report:
        advance()
        self.subject, self.names, self.apply = subject, names, apply
        return Report(proxy=subject.proxy, own=subject.own, findings=self.findings, seconds=1.0)

    def with_own_proxy(
        self, reactor: object, config: ProxyConfig, environ: Mapping[str, str], directory: Path, examine: Any
    ) -> Any:
        self.assertEqual(list(directory.iterdir()), [])
        if self.failure is not None:
            raise self.failure
        return examine("http://127.0.0.1:1", {**environ, "SET": "by egress run"})

    def doctor(self, *arguments: str, status: int = 0, environ: dict[str, str] | None = None) -> tuple[str, str]:
        out, errors = io.StringIO(), io.StringIO()
        self.patch(sys, "stderr", errors)
        self.assertEqual(cli.main(["doctor", *arguments], environ or {}, out, errors), status)
        return out.getvalue(), errors.getvalue()

    def test_own_proxy(self) -> None:
        out, _ = self.doctor()
        self.assertIn("proxy that egress doctor started", out)
        self.assertTrue(self.subject.own)
        self.assertEqual(self.subject.environ["SET"], "by egress run")
        self.assertEqual((self.names, self.apply, self.subject.direct), (set(NAMES), None, ("1.1.1.1", 443)))

    def test_proxy_of_the_environment(self) -> None:
        all_of_them = {"HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY, "all_proxy": PROXY}
        for environ in (all_of_them, {"https_proxy": "127.0.0.1:8080"}, {"HTTP_PROXY": PROXY}):
            self.doctor(environ=environ)
            self.assertEqual((self.subject.proxy, self.subject.own), (PROXY, False))
            self.assertEqual(self.subject.environ, environ)
            # It is not the upstream proxy of this proxy.
            self.assertIsNone(self.subject.config.upstream_https)

    def test_given_proxy(self) -> None:
        self.doctor("--proxy", "http://proxy.test:1", "--authz-url", "http://a.test", environ={"HTTPS_PROXY": PROXY})
        self.assertEqual((self.subject.proxy, self.subject.own), ("http://proxy.test:1", False))
        self.assertEqual(self.subject.config.authz_url, "http://a.test")

    def test_own_proxy_behind_another(self) -> None:
        self.doctor("--own", environ={"HTTPS_PROXY": PROXY})
        self.assertTrue(self.subject.own)
        self.assertEqual(str(self.subject.config.upstream_https), PROXY)

    def test_checks(self) -> None:
        self.doctor("--only", "java, ca", "--only", "python", "--skip", "httpx,ca")
        self.assertEqual(self.names, {"java", "aiohttp", "requests", "urllib"})
        self.doctor("--direct", "192.0.2.1:53")
        self.assertEqual(self.subject.direct, ("192.0.2.1", 53))

    def test_exit_status(self) -> None:
        self.findings = [fault("java", "no", FIX)]
        self.assertIn("keytool -importcert", self.doctor(status=1)[0])
        self.findings = [error("dns", "a defect")]
        self.doctor(status=2)

    def test_json(self) -> None:
        document = json.loads(self.doctor("--json", environ={"HTTPS_PROXY": PROXY})[0])
        self.assertEqual((document["version"], document["status"]), (1, 0))
        self.assertEqual(document["proxy"], {"url": PROXY, "started": False})

    def test_text_has_no_control_characters(self) -> None:
        self.findings = [ok("proxy", "\x1b[31m")]
        self.assertIn("\\x1b[31m", self.doctor()[0])

    def test_colors(self) -> None:
        """The mark at the start of a line has a color."""
        self.findings = [fault("java", "no", FIX), ok("dns", "yes")]
        out = self.doctor(status=1, environ={"FORCE_COLOR": "1"})[0]
        self.assertIn("\x1b[31mFAULT\x1b[0m ", out)
        self.assertIn("\x1b[32mok\x1b[0m ", out)

    def test_misuse(self) -> None:
        for arguments, words in (
            (("--only", "jave"), "'jave': there is no such check; the checks are: proxy,"),
            (("--only", "java", "--skip", "java"), "leave at least one check"),
            (("--direct", "1.1.1.1"), "write a host and a port, as in 1.1.1.1:443"),
            (("--own", "--proxy", PROXY), "--own and --proxy"),
            (("--yes",), "--yes has an effect only with --fix"),
            (("--proxy", "http://ci:hunter2@x"), "write a URL with a port"),
            (("--authz-url", "ftp://x"), "--authz-url"),
        ):
            out, errors = self.doctor(*arguments, status=2)
            self.assertIn(words, errors)
            self.assertEqual((out, errors.count("\n")), ("", 1))
            self.assertNotIn("hunter2", errors)

    def test_no_ca(self) -> None:
        self.failure = CaError("/ca: other users can write to it; run chmod 700 /ca")
        self.assertIn("chmod 700", self.doctor(status=2)[1])

    # -- fixes

    def confirm(self, *options: str, stdin: io.StringIO) -> tuple[bool, str]:
        self.doctor("--fix", *options)
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        self.patch(sys, "stdin", stdin)
        return self.apply.confirm(FIX, ["java", "kotlin"]), errors.getvalue()

    def test_confirmation(self) -> None:
        for reply, confirmed in (("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)):
            found, errors = self.confirm(stdin=Terminal(reply))
            self.assertEqual(found, confirmed)
            self.assertEqual(errors, "java, kotlin: keytool -importcert\n  apply? [y/N] ")

    def test_without_a_terminal(self) -> None:
        found, errors = self.confirm(stdin=io.StringIO("y\n"))
        self.assertFalse(found)
        self.assertIn("add --yes", errors)
        self.assertEqual(self.confirm("--yes", stdin=io.StringIO()), (True, "java, kotlin: keytool -importcert\n"))

    def test_failure_of_a_fix(self) -> None:
        self.doctor("--fix")
        errors = io.StringIO()
        self.patch(sys, "stderr", errors)
        self.apply.failed("no\x1bstore")
        self.assertEqual(errors.getvalue(), "  failed: no\\x1bstore\n")
