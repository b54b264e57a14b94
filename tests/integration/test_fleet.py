"""A short run of L{tests.fleet} with each kind of fault.  C{docs/explanation/reliability.md} describes longer runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fleet.__main__ import Settings, run
from tests.fleet.joined import Verdict
from tests.fleet.observations import AUTHORIZER, HAPROXY, POSTGRESQL, REDIS
from tests.fleet.report import render
from tests.fleet.schedule import ALL, CLIENT, HOST, KILL, RELOAD, REVOKE, Step
from tests.integration.processes import program

QUESTIONS = "questions about reusable decisions in the time in which all decisions are shared"


class FleetTests(SynchronousTestCase):
    """C{python -m tests.fleet}, with steps that are not random."""

    def assert_passes(self, settings: Settings, steps: Sequence[Step]) -> Verdict:
        """Check that a run has no violation."""
        program("haproxy")
        directory = Path(tempfile.mkdtemp(prefix="egress-test-"))
        self.addCleanup(shutil.rmtree, directory, True)
        directory.chmod(0o755)
        verdict = run(directory, settings, steps, lambda text: None)
        self.assertTrue(verdict.passed, render("test", settings.seconds, steps, verdict))
        return verdict

    def test_faults(self) -> None:
        """Everything is killed once, and a revocation on one replica cuts tunnels on the others."""
        steps = [
            Step(0.5, REVOKE, "one", kind=HOST),
            Step(0.9, REVOKE, "three", kind=ALL),
            Step(1.3, REVOKE, "two", kind=CLIENT, holder=1),
            Step(3.0, RELOAD, HAPROXY),
            Step(3.5, KILL, POSTGRESQL, 0.7),
            Step(5.0, KILL, AUTHORIZER, 0.2),
            Step(7.0, KILL, "two", 0.2),
            Step(8.2, KILL, "one", 0.2),
            # The others repeat the revocations, which the new processes need not apply.
            Step(9.5, KILL, REDIS, 0.2),
        ]
        settings = Settings(seconds=10.6, clients=4, think=0.05, ttl=1.0)
        verdict = self.assert_passes(settings, steps)
        self.assertGreater(verdict.counts["revoked"]["tunnels on another replica"], 0)
        self.assertIn(f"{QUESTIONS}, relative to one replica", verdict.figures)
        self.assertGreater(verdict.counts["requests with a budget"]["problem 429 budget-exhausted"], 0)
        self.assertEqual(
            verdict.counts["faults"], dict.fromkeys((HAPROXY, POSTGRESQL, AUTHORIZER, "two", "one", REDIS), 1)
        )

    def test_without_redis(self) -> None:
        """Each replica asks the service itself; a revocation reaches the others when Redis is back."""
        steps = [
            Step(0.5, REVOKE, "one", kind=HOST),
            Step(0.8, KILL, "three", 0.2),
            Step(1.3, KILL, AUTHORIZER, 0.2),
        ]
        settings = Settings(seconds=1.6, clients=3, think=0.05, ttl=2.0, budgets=False, redis=False, after=5.0)
        verdict = self.assert_passes(settings, steps)
        self.assertGreater(verdict.counts["revoked"]["tunnels on another replica"], 0)
