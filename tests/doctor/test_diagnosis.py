"""Tests for L{egress.doctor.diagnosis}."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Finding, Fix, fault, ok
from egress.config.model import ProxyConfig
from egress.doctor import diagnosis as module
from egress.doctor.diagnosis import diagnosis
from egress.doctor.examination import Subject
from egress.doctor.processes import Processes
from egress.doctor.report import Report
from egress.doctor.runtime_judgement import Attempt
from tests.doctor.setups import PROXY
from tests.threads import ThreadlessReactor, at_once

IMPORT = Fix("keytool -importcert", ("keytool", "-importcert"))
FAULTS = [fault("curl", "no", Fix("unset NO_PROXY")), fault("java", "no", IMPORT), ok("dns", "responds")]


class Choice:
    """A user who confirms fixes, or not."""

    def __init__(self, confirms: bool) -> None:
        self.confirms = confirms
        self.asked: list[tuple[Fix, list[str]]] = []
        self.failures: list[str] = []

    def confirm(self, fix: Fix, names: Sequence[str]) -> bool:
        self.asked.append((fix, list(names)))
        return self.confirms

    def failed(self, reason: str) -> None:
        self.failures.append(reason)


class _Examination:
    def __init__(self, run: Callable[[Collection[str]], Deferred[list[Finding]]]) -> None:
        self.run = run


class DiagnosisTests(SynchronousTestCase):
    """An examination, its fixes, and the second examination."""

    def setUp(self) -> None:
        at_once(self)
        self.examined: list[list[str]] = []
        self.commands: list[tuple[str, ...]] = []
        self.status: int | None = 0
        self.faults = FAULTS
        self.patch(module, "Examination", lambda reactor, subject, advance=None: _Examination(self.examine))
        self.patch(Processes, "attempt", self.attempt)

    def examine(self, names: Collection[str]) -> Deferred[list[Finding]]:
        self.examined.append(list(names))
        return succeed(self.faults if len(self.examined) == 1 else [ok(name, "fixed") for name in names])

    def attempt(self, command: Sequence[str], environ: Mapping[str, str], directory: Path, seconds: float) -> Attempt:
        self.commands.append(tuple(command))
        if self.status is None:
            raise FileNotFoundError(2, "No such file or directory")
        return Attempt(command=command, status=self.status, output="first\nthe store is read-only\n", seconds=0.1)

    def diagnose(self, choice: Choice | None) -> Report:
        subject = Subject(
            proxy="http://ci:hunter2@127.0.0.1:8080", own=False, environ={}, config=ProxyConfig(), direct=("a.test", 1)
        )
        return self.successResultOf(diagnosis(ThreadlessReactor(), subject, ["curl", "java", "dns"], choice))

    def test_no_fix(self) -> None:
        report = self.diagnose(None)
        self.assertEqual((report.findings, report.own, report.seconds), (FAULTS, False, 0.0))
        self.assertEqual(report.proxy, PROXY.replace("//", "//NAME:PASSWORD@"))
        self.assertEqual(self.examined, [["curl", "java", "dns"]])

    def test_fix(self) -> None:
        """Only what a program can apply is applied; it is checked again."""
        choice = Choice(True)
        report = self.diagnose(choice)
        self.assertEqual(choice.asked, [(IMPORT, ["java"])])
        self.assertEqual((self.commands, self.examined[1:]), ([("keytool", "-importcert")], [["java"]]))
        self.assertEqual(report.findings, [FAULTS[0], ok("java", "fixed"), FAULTS[2]])
        self.assertEqual(choice.failures, [])

    def test_own_command(self) -> None:
        """It is run by this interpreter, wherever C{egress} is installed."""
        self.faults = [fault("java", "no", Fix("x", ("egress", "trust", "install")))]
        self.diagnose(Choice(True))
        self.assertEqual(self.commands, [(sys.executable, "-m", "egress", "trust", "install")])

    def test_not_confirmed(self) -> None:
        report = self.diagnose(Choice(False))
        self.assertEqual((report.findings, self.commands, len(self.examined)), (FAULTS, [], 1))

    def test_a_fix_that_fails(self) -> None:
        for status, reason in ((1, "the store is read-only"), (None, "keytool: No such file or directory")):
            self.status = status
            self.examined.clear()
            choice = Choice(True)
            self.diagnose(choice)
            self.assertEqual(choice.failures, [reason])
