"""Tests for L{egress.admin.stored_grants}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.admin import stored_grants as module
from egress.admin.stored_grants import STORED_WITHIN, StoredGrants
from egress.authz.stored_revocations import in_force
from egress.model.approval import Grant
from egress.model.revocation import Revocation, RevocationKind
from tests.store.grant_cases import NOW, MemoryDatabase, grant, matching, revocation, store_of


class Thread:
    """A thread that runs its calls when a test says so.

    @ivar at_once: whether each call is run immediately.
    """

    def __init__(self) -> None:
        self.at_once = True
        self.calls: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, call: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.calls.append((call, done))
        if self.at_once:
            self.run()
        return done

    def run(self) -> None:
        """Run one call."""
        call, done = self.calls.pop(0)
        try:
            result = call()
        except Exception:
            done.errback(Failure())
        else:
            done.callback(result)

    def begin(self) -> Callable[[], None]:
        """Run one call; the result arrives when the returned function is called."""
        call, done = self.calls.pop(0)
        result = call()
        return lambda: done.callback(result)


class Process:
    """A process with stored grants.

    @ivar used: the ids of the grants of each reading.
    """

    def __init__(self, clock: Clock, database: MemoryDatabase) -> None:
        self.thread = Thread()
        self.used: list[list[str]] = []
        self.stored = StoredGrants(clock, lambda: NOW + clock.seconds(), store_of(database), self.thread)
        self.stored.use = self.use

    def use(self, grants: list[Grant]) -> None:
        self.used.append(sorted(each.grant_id for each in grants))


class StoredGrantsTestCase(SynchronousTestCase):
    """Base: one process, and its database."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.database = MemoryDatabase()
        self.process = Process(self.clock, self.database)
        self.stored, self.thread = self.process.stored, self.process.thread

    def wait(self, seconds: float = 0.2) -> None:
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)

    def in_database(self) -> list[str]:
        return sorted(each.grant_id for each in in_force(store_of(self.database).read(NOW)))

    def read_by_another(self) -> list[str]:
        """Return what a process uses that starts now."""
        other = Process(self.clock, self.database)
        other.stored.read()
        self.wait()
        (found,) = other.used
        return found


class WriteTests(StoredGrantsTestCase):
    """Grants and revocations are written soon."""

    def test_written(self) -> None:
        self.stored.add(grant())
        self.assertEqual(self.in_database(), [])
        self.wait()
        self.assertEqual(self.in_database(), ["g"])
        self.assertEqual(self.read_by_another(), ["g"])
        self.stored.revoke("g")
        self.assertFalse(self.stored.is_stored)
        self.wait()
        self.assertTrue(self.stored.is_stored)
        self.assertEqual(self.read_by_another(), [])
        self.assertEqual((self.stored.ended("g"), self.stored.ended("g"), self.stored.ended("h")), (True, False, False))

    def test_new_after_revocation(self) -> None:
        """A grant that an approver makes just after a revocation of the same scope is not subject to it."""
        self.stored.make(grant())
        self.stored.revoke("g")
        self.wait()
        self.stored.make(grant(created=NOW + 0.1))
        self.wait()
        self.assertEqual(self.read_by_another(), ["g"])

    def test_matching(self) -> None:
        self.stored.add(grant())
        found = matching("rule", "rule").matching
        assert found is not None
        self.stored.revoke_matching(found)
        self.assertTrue(self.successResultOf(self.stop_waiting(self.stored.stored())))
        self.assertEqual(self.in_database(), [])
        # A decision on one request is not a grant.
        self.stored.revoke_matching(Revocation(RevocationKind.DECISION, "id", NOW, "", "r2"))
        self.assertTrue(self.stored.is_stored)

    def stop_waiting(self, result: Deferred[bool]) -> Deferred[bool]:
        self.wait()
        return result

    def test_heard(self) -> None:
        """What others store, too, is written within five seconds, and what is stored is not written again."""
        self.stored.add(grant(), soon=False)
        self.stored.revoke("h", "r1", NOW, soon=False)
        self.wait(0.9)
        self.assertEqual(self.in_database(), [])
        self.wait(4.2)
        self.assertEqual(self.in_database(), ["g"])
        released = self.database.released
        self.stored.add(grant())
        self.stored.revoke("h", "r1", NOW)
        self.wait(6)
        self.assertEqual(self.database.released, released)

    def test_hurry(self) -> None:
        """An approver who waits does not wait for the others."""
        self.stored.revoke("g", "r1", NOW, soon=False)
        done = self.stored.stored()
        self.clock.advance(0)
        self.assertTrue(self.successResultOf(done))

    def test_nothing(self) -> None:
        self.assertTrue(self.successResultOf(self.stored.stored()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """More than one transaction writes them."""
        self.patch(module, "_BATCH", 2)
        for number in range(5):
            self.stored.add(grant(str(number)))
        self.assertTrue(self.successResultOf(self.stop_waiting(self.stored.stored())))
        self.assertEqual(self.in_database(), list("01234"))

    def test_while_writing(self) -> None:
        """A revocation during a transaction is in the next one, and who waits for it waits for that one."""
        self.thread.at_once = False
        self.stored.add(grant())
        self.wait()
        arrive = self.thread.begin()
        self.stored.revoke("g")
        done = self.stored.stored()
        self.wait()
        self.assertEqual(self.thread.calls, [])
        arrive()
        self.assertNoResult(done)
        self.wait()
        self.thread.run()
        self.assertTrue(self.successResultOf(done))
        self.assertEqual(self.in_database(), [])


class FailureTests(StoredGrantsTestCase):
    """The store cannot be reached."""

    def note(self) -> str:
        return self.successResultOf(self.stored.check()) or ""

    def test_writes(self) -> None:
        self.database.is_reached = False
        with capturedLogs() as logs:
            self.stored.add(grant())
            self.stored.revoke("h")
            done = self.stored.stored()
            self.wait(STORED_WITHIN - 0.1)
            self.assertNoResult(done)
            self.wait()
            self.assertFalse(self.successResultOf(done))
            self.wait(20)
            self.assertIn("2 grants and revocations wait to be stored: ", self.note())
            self.database.is_reached = True
            self.wait(5.1)
        self.assertEqual(self.note(), "")
        self.assertEqual(self.in_database(), ["g"])
        found = [each["log_format"] for each in logs]
        self.assertEqual(len(found), 2, found)
        self.assertIn("wait to be stored", found[0])
        self.assertIn("stored again", found[1])

    def test_waiting_again(self) -> None:
        """A further attempt of an administrator is one to write, too; an automatic one waits."""
        self.database.is_reached = False
        self.stored.revoke("h")
        self.wait(10)
        self.database.is_reached = True
        self.stored.revoke("i")
        self.clock.advance(0)
        self.assertFalse(self.stored.is_stored)
        done = self.stored.stored()
        self.clock.advance(0)
        self.assertTrue(self.successResultOf(done))

    def test_bounded(self) -> None:
        """Beyond the limit, the oldest revocations become one that covers more, and the oldest grants are left out."""
        self.patch(module, "MAX_WAITING", 3)
        self.database.is_reached = False
        store_of_all = store_of(self.database)
        for number in range(5):
            self.stored.add(grant(f"g{number}", NOW - 100 + number))
            self.stored.revoke(f"x{number}", f"r{number}", NOW + number)
        self.database.is_reached = True
        store_of_all.write([grant("before"), grant("later", NOW + 50)], [], NOW)
        self.wait(10)
        self.assertEqual(self.in_database(), ["later"])
        found = self.database.rows("SELECT kind, revoked_at FROM grant_revocations ORDER BY revoked_at")
        self.assertEqual(found, [("all", NOW + 2), ("grant", NOW + 3), ("grant", NOW + 4)])
        self.assertEqual(len(self.database.rows("SELECT id FROM grants")), 5)

    def test_reads(self) -> None:
        """Stored grants apply when the store can be reached again."""
        store_of(self.database).write([grant()], [], NOW)
        self.database.is_reached = False
        with capturedLogs() as logs:
            self.stored.read()
            self.wait(20)
            self.assertEqual(self.process.used, [])
            self.assertIn("stored grants are not used yet: ", self.note())
            self.database.is_reached = True
            self.wait(5.1)
        self.assertEqual(self.note(), "")
        self.assertEqual(self.process.used, [["g"]])
        self.assertEqual([each["log_level"].name for each in logs], ["warn", "info"])
        self.wait(20)
        self.assertEqual(self.process.used, [["g"]])

    def test_threads_stopped(self) -> None:
        """At the end of the process, nothing is tried again."""
        self.thread.at_once = False
        self.stored.add(grant())
        self.stored.read()
        self.wait()
        for _, done in self.thread.calls:
            done.errback(CancelledError())
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ReadTests(StoredGrantsTestCase):
    """The grants of earlier processes."""

    def setUp(self) -> None:
        super().setUp()
        store_of(self.database).write([grant(), grant("h")], [revocation("h")], NOW)

    def test_read(self) -> None:
        for _ in range(3):
            self.stored.read()
        self.wait(1)
        self.assertEqual(self.process.used, [["g"]])

    def test_changed(self) -> None:
        self.database.write("UPDATE grants SET reason = 'x'", [()])
        with capturedLogs() as logs:
            self.stored.read()
            self.wait()
        self.assertEqual(self.process.used, [[]])
        self.assertEqual([each["log_level"].name for each in logs], ["error", "info"])

    def test_revoked_meanwhile(self) -> None:
        """A revocation arrives while the thread reads."""
        self.thread.at_once = False
        self.stored.read()
        self.wait()
        arrive = self.thread.begin()
        self.stored.revoke("g")
        arrive()
        self.assertEqual(self.process.used, [[]])

    def test_again(self) -> None:
        """A request during the reading is another reading."""
        self.thread.at_once = False
        self.stored.read()
        self.wait()
        arrive = self.thread.begin()
        self.stored.read()
        self.wait(1)
        arrive()
        self.thread.at_once = True
        self.wait()
        self.assertEqual(self.process.used, [["g"], ["g"]])

    def test_waiting(self) -> None:
        """What waits to be written, and is stored by another process, is not written."""
        self.stored.add(grant(), soon=False)
        self.stored.read()
        self.wait()
        self.assertTrue(self.successResultOf(self.stored.stored()))

    def test_obstacle(self) -> None:
        obstacles = ["not yet"] * 4

        def ready() -> Deferred[str | None]:
            return succeed(obstacles.pop() if obstacles else None)

        self.stored.ready = ready
        with capturedLogs() as logs:
            self.stored.read()
            self.wait(3)
            self.assertEqual(logs, [])
            self.wait(20)
        self.assertEqual(self.process.used, [["g"]])
        self.assertEqual([each["log_level"].name for each in logs], ["warn", "info"])


class StopTests(StoredGrantsTestCase):
    """The process ends."""

    def test_writes(self) -> None:
        self.stored.add(grant(), soon=False)
        self.stored.read()
        done = self.stored.stop()
        self.clock.advance(0)
        self.successResultOf(done)
        self.assertEqual(self.in_database(), ["g"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.stored.add(grant("late"))
        self.stored.read()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unreachable(self) -> None:
        self.database.is_reached = False
        self.stored.add(grant())
        done = self.stored.stop()
        self.wait(STORED_WITHIN + 0.1)
        self.successResultOf(done)
        self.assertEqual(self.clock.getDelayedCalls(), [])
