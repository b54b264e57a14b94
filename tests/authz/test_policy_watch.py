"""Tests for L{egress.authz.policy_watch}."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.policy_watch import LOOK_EVERY, PolicyWatch
from egress.config.model import ConfigError
from egress.model.statistics import PolicyInUse, PolicyReloadStats
from egress.policy.parse.load import PolicyError, load_policy
from egress.policy.rules import RuleSet

ONE = 'version = 1\n[[rules]]\naction = "allow"\n'
TWO = ONE + '[[rules]]\naction = "deny"\nreason = "no"\n'


class PolicyWatchTests(SynchronousTestCase):
    """The policy in use is the policy in the files, or the last valid one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_text(ONE, "utf-8")
        self.more: tuple[Path, ...] = ()
        self.reads = 0
        self.rules = load_policy(self.path)
        self.begin: Callable[[], Deferred[None]] = self.reload
        self.watch = PolicyWatch(
            self.clock, self.rules, lambda: (self.path, *self.more), lambda: self.begin(), self.clock.seconds
        )
        self.addCleanup(self.watch.stop)
        self.watch.start()

    def reload(self) -> Deferred[None]:
        self.reads += 1
        try:
            rules = load_policy(self.path)
        except PolicyError as error:
            return fail(ConfigError("--policy", "", str(error)))
        self.use(rules, followed=True)
        return succeed(None)

    def use(self, rules: RuleSet, *, followed: bool) -> None:
        self.rules = rules
        self.watch.used(rules, followed=followed)

    def check(self, times: int = 1) -> None:
        """Run a number of checks, plus the one that finds that the files do not change any more."""
        for _ in range(times + 1):
            self.clock.advance(LOOK_EVERY)

    def write(self, text: str) -> None:
        """Replace a file, as editors do."""
        other = self.path.with_suffix(".new")
        other.write_text(text, "utf-8")
        os.replace(other, self.path)

    def test_unchanged(self) -> None:
        """Changes before the first check cause one reload without a log message."""
        with capturedLogs() as events:
            self.check(5)
        self.assertEqual((self.reads, events), (1, []))
        self.assertEqual(self.watch.state, PolicyReloadStats(1))

    def test_changed(self) -> None:
        self.check()
        self.write(TWO)
        with capturedLogs() as events:
            self.check(3)
        self.assertEqual((len(self.rules.rules), self.reads), (2, 2))
        self.assertEqual([event["log_level"] for event in events], [LogLevel.info])
        self.assertEqual(self.watch.state, PolicyReloadStats(2, reads=1))

    def test_policy_in_use(self) -> None:
        """The hash is that of the file; the time is that of the load, not of the first check."""
        self.check(5)
        verdicts = tuple((rule.rule_id, rule.verdict.value) for rule in self.rules.rules)
        expected = PolicyInUse(sha256(ONE.encode()).hexdigest(), 0.0, (*verdicts, ("default", "deny")))
        self.assertEqual(self.watch.policy, expected)
        self.write(TWO)
        self.check(3)
        self.assertEqual(self.watch.policy.digest, sha256(TWO.encode()).hexdigest())
        self.assertEqual((self.watch.policy.loaded, len(self.watch.policy.rules)), (8.0, 3))

    def test_changed_before_the_first_check(self) -> None:
        self.write(TWO)
        self.check()
        self.assertEqual(len(self.rules.rules), 2)

    def test_written_in_place(self) -> None:
        self.check()
        self.path.write_text(TWO, "utf-8")
        self.check()
        self.assertEqual(len(self.rules.rules), 2)

    def test_written_in_pieces(self) -> None:
        """The first part of a policy may be a valid policy that allows more."""
        self.check()
        self.path.write_text("", "utf-8")
        self.clock.advance(LOOK_EVERY)
        self.path.write_text(ONE, "utf-8")
        self.clock.advance(LOOK_EVERY)
        self.path.write_text(TWO, "utf-8")
        self.clock.advance(LOOK_EVERY)
        self.assertEqual((self.reads, self.watch.state), (1, PolicyReloadStats(1)))
        self.clock.advance(LOOK_EVERY)
        self.assertEqual((len(self.rules.rules), self.watch.state), (2, PolicyReloadStats(2, reads=1)))

    def test_invalid_policy(self) -> None:
        """It is logged once, the previous policy stays in use, and the next valid one is loaded."""
        self.check()
        self.write("garbage")
        with capturedLogs() as events:
            self.check(3)
        self.assertEqual(len(self.rules.rules), 1)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.error])
        self.assertIn("is not TOML", events[0]["error"])
        self.assertEqual(self.watch.state, PolicyReloadStats(1, failures=1, current=False))
        self.path.unlink()
        with capturedLogs() as events:
            self.check(2)
        self.assertEqual(len(events), 1)
        self.assertEqual(self.watch.state.failures, 2)
        self.write(TWO)
        self.check(2)
        self.assertEqual(self.watch.state, PolicyReloadStats(2, reads=1, failures=2))

    def test_restored_policy(self) -> None:
        """The previous policy is current again when its file returns."""
        self.check()
        self.write("garbage")
        self.check()
        self.write(ONE)
        self.check(3)
        self.assertEqual(self.watch.state, PolicyReloadStats(1, reads=1, failures=1))
        self.assertEqual(self.reads, 3)

    def test_missing_file_of_several(self) -> None:
        """A missing file of an invalid policy may appear without a change of the known files."""
        included = self.path.with_suffix(".included")
        self.check()
        self.write("garbage")
        self.check()
        self.more = (included,)
        self.write(TWO)
        self.check(2)
        reads = self.reads
        included.write_text("", "utf-8")
        self.check(3)
        self.assertEqual(self.reads, reads + 1)

    def test_other_reload(self) -> None:
        """A SIGHUP reloads, too: the files may have changed since the last check, so they are read again."""
        self.check()
        self.write("garbage")
        self.check()
        self.write(TWO)
        self.use(load_policy(self.path), followed=False)
        self.assertEqual(self.watch.state, PolicyReloadStats(2, reads=1, failures=1))
        self.check(3)
        self.assertEqual(self.watch.state, PolicyReloadStats(2, reads=1, failures=1))

    def test_other_files(self) -> None:
        """A file that is included from now on is checked from then on."""
        included = self.path.with_suffix(".included")
        included.write_text("", "utf-8")
        self.check()
        reload = self.reload

        def including() -> Deferred[None]:
            self.more = (included,)
            return reload()

        self.begin = including
        self.write(TWO)
        self.check(3)
        self.assertEqual(self.reads, 3, "once for the change, once since the state of the other was not known")
        included.write_text("# more", "utf-8")
        self.check(2)
        self.assertEqual(self.reads, 4)

    def test_reload_in_progress(self) -> None:
        """There is one reload at a time; changes during a reload cause another one, and a reload by others counts."""
        reads: list[Deferred[None]] = []

        def begin() -> Deferred[None]:
            reads.append(Deferred())
            return reads[-1]

        self.begin = begin
        self.check(3)
        self.assertEqual(len(reads), 1)
        self.watch.used(self.rules)
        self.assertEqual(self.watch.state.reads, 1)
        self.write(TWO)
        self.check(3)
        self.watch.used(self.rules, followed=True)
        reads[0].callback(None)
        self.assertEqual(self.watch.state.reads, 1, "the first look has found no change")
        self.check(3)
        self.assertEqual(len(reads), 2)
        self.watch.used(self.rules, followed=True)
        reads[1].callback(None)
        self.check(3)
        self.assertEqual((len(reads), self.watch.state.reads), (2, 2))

    def test_stop(self) -> None:
        self.watch.stop()
        self.watch.stop()
        self.write(TWO)
        self.check()
        self.assertEqual(self.reads, 0)
        self.watch.start()
        self.watch.start()
        self.check()
        self.assertEqual(self.reads, 1)

    def test_no_files(self) -> None:
        watch = PolicyWatch(self.clock, self.rules, lambda: (), self.reload)
        watch.start()
        self.watch.stop()
        self.check()
        self.assertEqual(self.reads, 0)

    def test_defect(self) -> None:
        self.begin = lambda: fail(RuntimeError("what"))
        self.check()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stopped_during_a_reload(self) -> None:
        """Nothing is logged."""
        self.begin = lambda: fail(CancelledError())
        with capturedLogs() as events:
            self.check(3)
        self.assertEqual(events, [])
