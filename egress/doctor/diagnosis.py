"""A diagnosis: an examination, and if requested, the fixes and a second examination of what they fix."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, inlineCallbacks

from egress.checks.finding import Finding, Fix, fixes_of
from egress.checks.setup import shown_proxy
from egress.doctor.examination import Examination, Subject
from egress.doctor.processes import Processes
from egress.doctor.report import Report
from egress.doctor.runtime_judgement import error_line
from egress.runtime.threads import Threads


class Applier(Protocol):
    """Selects the fixes to apply.  Its methods are called in a thread, and may block."""

    def confirm(self, fix: Fix, names: Sequence[str]) -> bool:
        """Tell whether to apply a fix.

        @param fix: the fix.
        @param names: the names of the checks that it fixes.
        """

    def failed(self, reason: str) -> None:
        """Handle that the last fix could not be applied."""


_SECONDS: Final = 60.0


@inlineCallbacks
def diagnosis(
    reactor: Any,
    subject: Subject,
    names: Collection[str],
    apply: Applier | None,
    advance: Callable[[], object] = lambda: None,
) -> Generator[Deferred[Any], Any, Report]:
    """Examine a subject.

    @param reactor: the reactor of the process.
    @param subject: the proxy and the environment.
    @param names: the names of the checks.
    @param apply: selects the fixes to apply; C{None}: no fix is applied.
    @param advance: is called after each check of the first examination.
    """
    began = reactor.seconds()
    findings: list[Finding] = yield Examination(reactor, subject, advance).run(names)
    if apply is not None:
        fixed = yield _apply(reactor, subject, findings, apply)
        if fixed:
            again: list[Finding] = yield Examination(reactor, subject).run(fixed)
            results = {finding.name: finding for finding in again}
            findings = [results.get(finding.name, finding) for finding in findings]
    return Report(
        proxy=shown_proxy(subject.proxy), own=subject.own, findings=findings, seconds=reactor.seconds() - began
    )


@inlineCallbacks
def _apply(
    reactor: Any, subject: Subject, findings: Sequence[Finding], apply: Applier
) -> Generator[Deferred[Any], Any, list[str]]:
    """Apply the fixes that a program can apply, one after the other.

    @return: the names of the checks to repeat.
    """
    threads, processes = Threads(reactor, "fixes", 1), Processes()
    repeated: list[str] = []
    try:
        for fix, names in fixes_of(findings).items():
            if fix.command is not None and (yield threads(partial(apply.confirm, fix, names))):
                reason = yield threads(partial(_run, processes, fix.command, subject))
                if reason is not None:
                    yield threads(partial(apply.failed, reason))
                repeated += names
    finally:
        processes.stop()
        threads.stop()
    return repeated


def _run(processes: Processes, command: Sequence[str], subject: Subject) -> str | None:
    """Run the command of a fix.

    @return: why it failed; C{None} if it succeeded.
    """
    if command[0] == "egress":
        command = [sys.executable, "-m", *command]
    try:
        attempt = processes.attempt(command, subject.environ, Path.cwd(), _SECONDS)
    except OSError as error:
        return f"{command[0]}: {error.strerror or error}"
    if attempt.status == 0:
        return None
    return error_line(attempt.output)
