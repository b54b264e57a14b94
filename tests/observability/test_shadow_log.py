"""Tests for L{egress.observability.shadow_log}."""

from __future__ import annotations

import json
import os
from pathlib import Path

import attrs
from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.interfaces import IShadowSink
from egress.model.comparison import ShadowComparison, ShadowResult
from egress.observability.shadow_log import ShadowLog
from tests.authz.fakes import ALLOW, DENY, REQUEST

SECRET = attrs.evolve(REQUEST, path="/x?token=hunter2")
DIFFERENT = ShadowComparison(
    SECRET,
    attrs.evolve(ALLOW, policy_version="v1"),
    attrs.evolve(DENY, rule_id="r1", policy_version="v2"),
    ShadowResult.STRICTER,
)


class ShadowLogTests(SynchronousTestCase):
    """All comparisons are counted; disagreements are reported."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[LogEvent] = []
        globalLogPublisher.addObserver(self.events.append)  # type: ignore[arg-type]
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)  # type: ignore[arg-type]

    def make(self, path: Path | None = None) -> ShadowLog:
        return ShadowLog(self.clock.seconds, lambda: 1.5, path)

    def logged(self) -> list[str]:
        return [
            event["log_format"].format(**event)
            for event in self.events
            if event["log_namespace"] == "egress.observability.shadow_log"
        ]

    def test_counted(self) -> None:
        found = self.make()
        verifyObject(IShadowSink, found)
        registry = CollectorRegistry()
        registry.register(found)
        for agreement in (ShadowResult.SAME, ShadowResult.SAME, ShadowResult.SKIPPED, ShadowResult.UNAVAILABLE):
            found.write(ShadowComparison(REQUEST, ALLOW, None, agreement))
        for result, number in (("same", 2), ("skipped", 1), ("unavailable", 1), ("stricter", 0)):
            self.assertEqual(
                registry.get_sample_value("egress_shadow_decisions_total", {"result": result}), number, result
            )
        found.close()
        self.assertEqual(self.logged(), [])

    def test_logged(self) -> None:
        """The log line has both verdicts, and no secret."""
        self.make().write(DIFFERENT)
        (line,) = self.logged()
        self.assertEqual(
            line,
            "the shadow authorizer is stricter: GET http://a.test/x?token=REDACTED: "
            "enforced allow: yes; shadow deny by r1: no (1)",
        )

    def test_rate_limit(self) -> None:
        found = self.make()
        for _ in range(25):
            found.write(DIFFERENT)
        self.assertEqual(len(self.logged()), 10)
        self.clock.advance(60)
        found.write(DIFFERENT)
        self.assertEqual(len(self.logged()), 12)
        self.assertEqual(self.logged()[10], "15 more disagreements were not logged")

    def test_file(self) -> None:
        path = Path(self.mktemp())
        found = self.make(path)
        found.write(DIFFERENT)
        found.write(ShadowComparison(REQUEST, ALLOW, ALLOW, ShadowResult.SAME))
        found.close()
        found.close()
        (line,) = path.read_text("utf-8").splitlines()
        self.assertNotIn("hunter2", line)
        entry = json.loads(line)
        self.assertRegex(entry["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            (entry["result"], entry["verdict"], entry["shadowVerdict"], entry["shadowRuleId"], entry["requestId"]),
            ("stricter", "allow", "deny", "r1", "1"),
        )
        self.assertEqual((entry["policyVersion"], entry["shadowPolicyVersion"]), ("v1", "v2"))

    def test_full_file(self) -> None:
        """The failure is logged once, and blocks no request."""
        found = self.make(Path("/dev/full"))
        for _ in range(3):
            found.write(DIFFERENT)
        found.close()
        self.assertEqual(len([line for line in self.logged() if "cannot be written" in line]), 1)

    def test_pipe_without_a_reader(self) -> None:
        """The lines still buffered at close are lost, and reported."""
        path = Path(self.mktemp())
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        found = self.make(path)
        for _ in range(400):
            found.write(DIFFERENT)
        os.close(reader)
        found.close()
        self.assertEqual(len([line for line in self.logged() if "cannot be written" in line]), 1)
