"""The findings of a diagnosis, each with the line that fixes it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final

import attrs


class Status(enum.Enum):
    """The result of one check.

    @cvar OK: nothing to fix.
    @cvar SKIPPED: not checked, because there is nothing to check, or because the user excluded it.
    @cvar WARNING: it works, but is likely to cause a fault.
    @cvar FAULT: it does not work.
    @cvar ERROR: the check itself failed, so the result is unknown.
    """

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAULT = "fault"
    ERROR = "error"


HEALTHY: Final = 0
FOUND: Final = 1
NOT_CHECKED: Final = 2
"""The exit statuses, in the order of precedence."""

NOT_INSTALLED: Final = "not installed"
"""The text of a finding about a program that does not exist."""

_TO_FIX: Final = (Status.WARNING, Status.FAULT)


@attrs.frozen
class Fix:
    """One line that fixes a fault.

    @ivar line: a command for a shell, or an instruction.
    @ivar command: the arguments of a command that C{--fix} may run; C{None} if a program cannot apply the fix.
    """

    line: str
    command: tuple[str, ...] | None = None


@attrs.frozen
class Finding:
    """The result of one check.

    @ivar name: the name of the check, for C{--only} and C{--skip}.
    @ivar status: the result.
    @ivar text: the result in one sentence, without the name.
    @ivar fix: the fix of a warning or a fault.
    @ivar seconds: the duration of the check, if it was measured.
    """

    name: str
    status: Status
    text: str
    fix: Fix | None = None
    seconds: float | None = None

    @property
    def to_fix(self) -> bool:
        """Whether it is a warning or a fault."""
        return self.status in _TO_FIX


def ok(name: str, text: str) -> Finding:
    """Return a finding with nothing to fix."""
    return Finding(name, Status.OK, text)


def skipped(name: str, text: str) -> Finding:
    """Return the finding of a check that was not made."""
    return Finding(name, Status.SKIPPED, text)


def warning(name: str, text: str, fix: Fix) -> Finding:
    """Return a warning."""
    return Finding(name, Status.WARNING, text, fix)


def fault(name: str, text: str, fix: Fix) -> Finding:
    """Return a fault."""
    return Finding(name, Status.FAULT, text, fix)


def error(name: str, text: str) -> Finding:
    """Return the finding of a check that failed itself."""
    return Finding(name, Status.ERROR, text)


def exit_status(findings: Iterable[Finding]) -> int:
    """Return the exit status: L{NOT_CHECKED} if a check failed itself, otherwise whether there is anything to fix."""
    found = list(findings)
    if any(finding.status is Status.ERROR for finding in found):
        return NOT_CHECKED
    return FOUND if any(finding.to_fix for finding in found) else HEALTHY


def fixes_of(findings: Iterable[Finding]) -> dict[Fix, list[str]]:
    """Return each fix once, with the names of the checks that it fixes."""
    fixes: dict[Fix, list[str]] = {}
    for finding in findings:
        if finding.fix is not None:
            fixes.setdefault(finding.fix, []).append(finding.name)
    return fixes
