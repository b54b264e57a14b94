"""Tests for L{egress.doctor.report}."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from egress.checks.finding import Finding, Fix, Status, error, fault, ok, skipped, warning
from egress.doctor.report import Report
from tests.doctor.setups import PROXY

UNSET = Fix("unset NO_PROXY")
FINDINGS = (
    ok("proxy", "responds"),
    fault("environment", "NO_PROXY=*", UNSET),
    warning("ca", "ends soon", Fix("egress ca rotate", ("egress", "ca", "rotate"))),
    Finding("curl", Status.FAULT, "does not use the proxy", UNSET, 0.123456),
    skipped("uv", "not installed"),
    skipped("docker", "not installed"),
)


def report(*findings: Finding, own: bool = False) -> Report:
    return Report(proxy=PROXY, own=own, findings=findings, seconds=3.14159)


class ReportTests(SynchronousTestCase):
    """The report, as text and as JSON."""

    def test_text(self) -> None:
        self.assertEqual(
            "\n".join(report(*FINDINGS).lines()),
            f"""Examined {PROXY} with the environment of this process.

ok       proxy        responds
FAULT    environment  NO_PROXY=*
warning  ca           ends soon
FAULT    curl         does not use the proxy (0.1 s)
-        not installed: uv, docker

To fix:
  unset NO_PROXY
      for environment, curl
  egress ca rotate
      for ca

4 checks, 3 to fix (3.1 s)""",
        )

    def test_healthy(self) -> None:
        lines = list(report(FINDINGS[0], own=True).lines())
        self.assertEqual(
            lines[0], "Examined a proxy that egress doctor started, with the environment that egress run sets."
        )
        self.assertEqual(lines[-1], "1 check, nothing to fix (3.1 s)")
        self.assertNotIn("To fix:", lines)

    def test_failed_check(self) -> None:
        found = report(FINDINGS[0], error("dns", "could not be checked"))
        self.assertEqual(
            (found.status, list(found.lines())[-1]), (2, "2 checks, nothing to fix, 1 not possible (3.1 s)")
        )

    def test_no_check(self) -> None:
        self.assertEqual(list(report().lines())[-1], "0 checks, nothing to fix (3.1 s)")

    def test_json(self) -> None:
        document = json.loads(json.dumps(report(*FINDINGS).to_json()))
        checks = document.pop("checks")
        self.assertEqual(
            document,
            {"version": 1, "status": 1, "proxy": {"url": PROXY, "started": False}, "seconds": 3.142},
        )
        self.assertEqual(
            checks[3],
            {
                "name": "curl",
                "status": "fault",
                "text": "does not use the proxy",
                "fix": "unset NO_PROXY",
                "applicable": False,
                "seconds": 0.123,
            },
        )
        self.assertEqual((checks[0]["fix"], checks[0]["seconds"], checks[2]["applicable"]), (None, None, True))
        self.assertEqual([check["name"] for check in checks], [finding.name for finding in FINDINGS])
