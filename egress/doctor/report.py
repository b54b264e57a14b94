"""The report of a diagnosis: text for people, and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from egress.checks.finding import NOT_INSTALLED, Finding, Status, exit_status, fixes_of
from egress.model.counted import counted

VERSION: Final = 1
"""The version of the JSON document; it changes if a member is removed or gets another meaning."""

MARKS: Final = {
    Status.OK: "ok",
    Status.SKIPPED: "-",
    Status.WARNING: "warning",
    Status.FAULT: "FAULT",
    Status.ERROR: "ERROR",
}
"""The first word of a line for each status."""


@attrs.frozen(kw_only=True)
class Report:
    """The result of a diagnosis.

    @ivar proxy: the URL of the proxy, as L{egress.checks.setup.shown_proxy} returns it.
    @ivar own: whether the diagnosis started the proxy.
    @ivar findings: the findings.
    @ivar seconds: the duration.
    """

    proxy: str
    own: bool
    findings: Sequence[Finding]
    seconds: float

    @property
    def status(self) -> int:
        """The exit status."""
        return exit_status(self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "version": VERSION,
            "status": self.status,
            "proxy": {"url": self.proxy, "started": self.own},
            "seconds": round(self.seconds, 3),
            "checks": [_to_json(finding) for finding in self.findings],
        }

    def lines(self) -> Iterator[str]:
        """Return the report as text."""
        if self.own:
            yield "Examined a proxy that egress doctor started, with the environment that egress run sets."
        else:
            yield f"Examined {self.proxy} with the environment of this process."
        yield ""
        absent = [each.name for each in self.findings if each.text == NOT_INSTALLED]
        shown = [each for each in self.findings if each.text != NOT_INSTALLED]
        width = max((len(each.name) for each in shown), default=0)
        for each in shown:
            took = f" ({each.seconds:.1f} s)" if each.seconds is not None else ""
            yield f"{MARKS[each.status]:<8} {each.name:<{width}}  {each.text}{took}"
        if absent:
            yield f"{MARKS[Status.SKIPPED]:<8} {NOT_INSTALLED}: {', '.join(absent)}"
        yield ""
        fixes = fixes_of(self.findings)
        if fixes:
            yield "To fix:"
            for fix, names in fixes.items():
                yield f"  {fix.line}"
                yield f"      for {', '.join(dict.fromkeys(names))}"
            yield ""
        yield f"{self._summary()} ({self.seconds:.1f} s)"

    def _summary(self) -> str:
        made = sum(each.status is not Status.SKIPPED for each in self.findings)
        to_fix = sum(each.to_fix for each in self.findings)
        failed = sum(each.status is Status.ERROR for each in self.findings)
        parts = [counted(made, "check")]
        parts.append(f"{to_fix} to fix" if to_fix else "nothing to fix")
        if failed:
            parts.append(f"{failed} not possible")
        return ", ".join(parts)


def _to_json(finding: Finding) -> dict[str, Any]:
    fix = finding.fix
    return {
        "name": finding.name,
        "status": finding.status.value,
        "text": finding.text,
        "fix": None if fix is None else fix.line,
        "applicable": fix is not None and fix.command is not None,
        "seconds": None if finding.seconds is None else round(finding.seconds, 3),
    }
