"""Tests for L{egress.authz.policy_watch}."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.policy_watch import LOOK_EVERY, PolicyWatch
from egress.config.model import ConfigError
from egress.model.statistics import PolicyReloadStats
from egress.policy.parse.load import PolicyError, load_policy
from egress.policy.rules import RuleSet

ONE = 'version = 1\n[[rules]]\naction = "allow"\n'
TWO = ONE + '[[rules]]\naction = "deny"\nreason = "no"\n'


class PolicyWatchTests(SynchronousTestCase):
    """What counts is what is in the files, or was the last time that it could be used."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.path.write_text(ONE, "utf-8")
        self.more: tuple[Path, ...] = ()
        self.reads = 0
        self.rules = load_policy(self.path)
        self.watch = PolicyWatch(self.clock, self.rules, lambda: (self.path, *self.more), self.reload)
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

    def look(self, times: int = 1) -> None:
        """Let it look so many times, once more than it takes to see that nobody writes any more."""
        for _ in range(times + 1):
            self.clock.advance(LOOK_EVERY)

    def write(self, text: str) -> None:
        """Put another file into the place of the one that is there, as editors do."""
        other = self.path.with_suffix(".new")
        other.write_text(text, "utf-8")
        os.replace(other, self.path)

    def test_unchanged(self) -> None:
        """What may have changed before the first look is read once more, without a word."""
        with capturedLogs() as events:
            self.look(5)
        self.assertEqual((self.reads, events), (1, []))
        self.assertEqual(self.watch.state, PolicyReloadStats(1))

    def test_changed(self) -> None:
        self.look()
        self.write(TWO)
        with capturedLogs() as events:
            self.look(3)
        self.assertEqual((len(self.rules.rules), self.reads), (2, 2))
        self.assertEqual([event["log_level"] for event in events], [LogLevel.info])
        self.assertEqual(self.watch.state, PolicyReloadStats(2, reads=1))

    def test_changed_before_the_first_look(self) -> None:
        self.write(TWO)
        self.look()
        self.assertEqual(len(self.rules.rules), 2)

    def test_written_in_place(self) -> None:
        self.look()
        self.path.write_text(TWO, "utf-8")
        self.look()
        self.assertEqual(len(self.rules.rules), 2)

    def test_written_in_pieces(self) -> None:
        """The beginning of a policy may be one that lets more out."""
        self.look()
        self.path.write_text("", "utf-8")
        self.clock.advance(LOOK_EVERY)
        self.path.write_text(ONE, "utf-8")
        self.clock.advance(LOOK_EVERY)
        self.path.write_text(TWO, "utf-8")
        self.clock.advance(LOOK_EVERY)
        self.assertEqual((self.reads, self.watch.state), (1, PolicyReloadStats(1)))
        self.clock.advance(LOOK_EVERY)
        self.assertEqual((len(self.rules.rules), self.watch.state), (2, PolicyReloadStats(2, reads=1)))

    def test_cannot_be_used(self) -> None:
        """It is said once, everything remains, and the first one that can be used is."""
        self.look()
        self.write("garbage")
        with capturedLogs() as events:
            self.look(3)
        self.assertEqual(len(self.rules.rules), 1)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.error])
        self.assertIn("is not TOML", events[0]["error"])
        self.assertEqual(self.watch.state, PolicyReloadStats(1, failures=1, current=False))
        self.path.unlink()
        with capturedLogs() as events:
            self.look(2)
        self.assertEqual(len(events), 1)
        self.assertEqual(self.watch.state.failures, 2)
        self.write(TWO)
        self.look(2)
        self.assertEqual(self.watch.state, PolicyReloadStats(2, reads=1, failures=2))

    def test_same_as_before(self) -> None:
        """Back to what was in use: that is the current one again."""
        self.look()
        self.write("garbage")
        self.look()
        self.write(ONE)
        self.look(3)
        self.assertEqual(self.watch.state, PolicyReloadStats(1, reads=1, failures=1))
        self.assertEqual(self.reads, 3)

    def test_missing_file_of_several(self) -> None:
        """What a failing policy lacks may come without a change of the files that are known."""
        included = self.path.with_suffix(".included")
        self.look()
        self.write("garbage")
        self.look()
        self.more = (included,)
        self.write(TWO)
        self.look(2)
        reads = self.reads
        included.write_text("", "utf-8")
        self.look(3)
        self.assertEqual(self.reads, reads + 1)

    def test_read_by_somebody_else(self) -> None:
        """A hangup reads as well; the files are not those that were seen, and are read once more."""
        self.look()
        self.write("garbage")
        self.look()
        self.write(TWO)
        self.use(load_policy(self.path), followed=False)
        self.assertEqual(self.watch.state, PolicyReloadStats(2, reads=1, failures=1))
        self.look(3)
        self.assertEqual(self.watch.state, PolicyReloadStats(2, reads=1, failures=1))

    def test_other_files_than_before(self) -> None:
        """Those of a file that is included from now on are looked at from then on."""
        included = self.path.with_suffix(".included")
        included.write_text("", "utf-8")
        self.look()
        reload = self.reload

        def including() -> Deferred[None]:
            self.more = (included,)
            return reload()

        self.watch._reload = including
        self.write(TWO)
        self.look(3)
        self.assertEqual(self.reads, 3, "once for the change, once since the state of the other was not known")
        included.write_text("# more", "utf-8")
        self.look(2)
        self.assertEqual(self.reads, 4)

    def test_reading_takes_time(self) -> None:
        """One at a time; what changes meanwhile is read after it, and what others read meanwhile counts."""
        reads: list[Deferred[None]] = []

        def begin() -> Deferred[None]:
            reads.append(Deferred())
            return reads[-1]

        self.watch._reload = begin
        self.look(3)
        self.assertEqual(len(reads), 1)
        self.watch.used(self.rules)
        self.assertEqual(self.watch.state.reads, 1)
        self.write(TWO)
        self.look(3)
        self.watch.used(self.rules, followed=True)
        reads[0].callback(None)
        self.assertEqual(self.watch.state.reads, 1, "the first look has found no change")
        self.look(3)
        self.assertEqual(len(reads), 2)
        self.watch.used(self.rules, followed=True)
        reads[1].callback(None)
        self.look(3)
        self.assertEqual((len(reads), self.watch.state.reads), (2, 2))

    def test_stop(self) -> None:
        self.watch.stop()
        self.watch.stop()
        self.write(TWO)
        self.look()
        self.assertEqual(self.reads, 0)
        self.watch.start()
        self.watch.start()
        self.look()
        self.assertEqual(self.reads, 1)

    def test_nothing_to_look_at(self) -> None:
        watch = PolicyWatch(self.clock, self.rules, lambda: (), self.reload)
        watch.start()
        self.watch.stop()
        self.look()
        self.assertEqual(self.reads, 0)

    def test_defect(self) -> None:
        self.watch._reload = lambda: fail(RuntimeError("what"))
        self.look()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_stopped_while_it_is_read(self) -> None:
        """Nothing is said."""
        self.patch(self.watch, "_reload", lambda: fail(CancelledError()))
        with capturedLogs() as events:
            self.look(3)
        self.assertEqual(events, [])
