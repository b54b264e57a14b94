"""Tests for L{egress.admin.stored_shared_grants}."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock

from egress.admin.api import Unanswered
from egress.admin.backend import LocalAdminBackend
from egress.admin.shared_grants import ALONE_AFTER, NOT_STORED, RETURN_WITHIN
from egress.admin.shared_revocations import SharedRevocations
from egress.admin.stored_grants import StoredGrants
from egress.admin.stored_shared_grants import ASK_SECONDS, StoredSharedGrants
from egress.model.revocation import Revocation, RevocationKind
from egress.shared.keys import SharedKeys
from egress.shared.members import EXPIRES
from tests.admin.test_shared_approvals import EPOCH, SECRET, Local, Replica
from tests.admin.test_shared_grants import SharedGrantsTestCase
from tests.admin.test_stored_grants import Thread
from tests.shared.engine import Engine
from tests.store.grant_cases import MemoryDatabase, store_of

EVERYTHING = Revocation(RevocationKind.ALL, "", EPOCH + 200, "bob", "revoked")


class StoringReplica(Replica):
    """A replica that has an audit store."""

    def __init__(self, clock: Clock, engine: Engine, node: str, database: MemoryDatabase) -> None:
        super().__init__(clock, engine, node)
        self.thread = Thread()
        self.stored = StoredGrants(clock, lambda: EPOCH + clock.seconds(), store_of(database, SECRET), self.thread)
        grants = self.shared.grants
        StoredSharedGrants(clock, approvals=self.approvals, grants=grants, state=self.state, stored=self.stored)
        nothing: Any = None
        revocations = SharedRevocations(Local(self.approvals), self.state)
        shared = {"shared": self.shared, "stored": self.stored}
        self.backend = LocalAdminBackend(self.approvals, nothing, nothing, revocations, **shared)  # type: ignore[arg-type]


class StoredSharedTestCase(SharedGrantsTestCase):
    """Base: two replicas, A and B, and their store."""

    def setUp(self) -> None:
        self.database = MemoryDatabase()
        super().setUp()
        # These replicas have no store.
        for each in (self.a, self.b):
            self.stop(each)
        self.start()

    def start(self) -> None:
        """Start both replicas at the same time."""
        self.a, self.b = (StoringReplica(self.clock, self.engine, name, self.database) for name in "ab")
        self.wait(6)

    def storing(self, name: str) -> StoringReplica:
        """Start a replica."""
        started = StoringReplica(self.clock, self.engine, name, self.database)
        self.wait(ALONE_AFTER + 1.5)
        return started

    def end(self) -> None:
        """Stop both replicas."""
        for each in (self.a, self.b):
            self.stop(each)

    def stop(self, replica: Replica) -> None:
        """Let a replica tell the others that it ends, after it has written what waits."""
        stopped = replica.backend.stop()
        self.wait(2)
        self.successResultOf(stopped)
        super().stop(replica)

    def kill(self, *replicas: Replica) -> None:
        """Let replicas end without a message."""
        for each in replicas:
            each.events.stop()
            each.client.fault = "killed"
            if isinstance(each, StoringReplica):
                each.thread.at_once = False

    def allowed(self) -> list[bool]:
        """Return whether each replica uses a grant."""
        return [self.allows(each) for each in (self.a, self.b)]


class RestartTests(StoredSharedTestCase):
    """All replicas stop, and start again."""

    def test_restart(self) -> None:
        self.permit(self.a)
        self.wait(1)
        self.assertEqual(self.allowed(), [True, True])
        self.end()
        self.start()
        self.assertEqual(self.allowed(), [True, True])
        (listed,) = self.successResultOf(self.b.backend.listed())["grants"]
        self.assertEqual(listed["by"], "ann")

    def test_waiting(self) -> None:
        """A request that already waits for an approver is allowed, too."""
        self.permit(self.a)
        self.wait(1)
        self.end()
        self.a = StoringReplica(self.clock, self.engine, "a", self.database)
        held = self.a.hold()
        self.assertNoResult(held)
        self.wait(ALONE_AFTER + 1)
        self.assertTrue(self.successResultOf(held).allowed)

    def test_revoked(self) -> None:
        name = self.permit(self.a)
        self.wait(1)
        self.assertTrue(self.successResultOf(self.revoke(self.b, name)))
        self.end()
        self.start()
        self.assertEqual(self.allowed(), [False, False])

    def test_revoked_all(self) -> None:
        self.permit(self.a)
        self.wait(1)
        done = self.b.backend.revoke_decisions(EVERYTHING)
        self.wait(3)
        self.assertEqual(self.successResultOf(done).unconfirmed, ())
        self.end()
        self.start()
        self.assertEqual(self.allowed(), [False, False])

    def test_renewed(self) -> None:
        """A grant that is made just after a revocation is not subject to it, also after a restart."""
        self.successResultOf(self.revoke(self.a, self.permit(self.a)))
        self.permit(self.b)
        self.wait(1)
        self.end()
        self.start()
        self.assertEqual(self.allowed(), [True, True])

    def test_one_by_one(self) -> None:
        """A rolling restart reads the store, too, and keeps what the others know."""
        self.permit(self.a)
        self.wait(1)
        self.stop(self.a)
        self.a = self.storing("a")
        self.assertEqual(self.allowed(), [True, True])

    def test_without_store(self) -> None:
        """The grants apply when the store can be reached again; revocations of meanwhile are respected."""
        one, two = self.permit(self.a), self.permit(self.a, "/two")
        self.wait(1)
        self.end()
        self.database.is_reached = False
        self.start()
        self.assertEqual(self.allowed(), [False, False])
        error = self.failureResultOf(self.revoke(self.a, two), Unanswered)
        self.assertEqual(str(error.value), NOT_STORED)
        self.database.is_reached = True
        self.wait(10)
        self.assertEqual(self.allowed(), [True, True])
        self.assertFalse(self.allows(self.b, "/two"))
        self.assertNotEqual(one, two)


class RevocationTests(StoredSharedTestCase):
    """A revocation is complete only when it is stored."""

    def test_unstored(self) -> None:
        """It is in force immediately, and another attempt tells when it is stored."""
        name = self.permit(self.a)
        self.wait(1)
        self.database.is_reached = False
        error = self.failureResultOf(self.revoke(self.b, name), Unanswered)
        self.assertEqual(str(error.value), NOT_STORED)
        self.assertEqual(self.allowed(), [False, False])
        self.failureResultOf(self.revoke(self.b, name), Unanswered)
        self.database.is_reached = True
        self.assertTrue(self.successResultOf(self.revoke(self.b, name)))
        self.assertFalse(self.successResultOf(self.revoke(self.b, name)))
        self.end()
        self.start()
        self.assertEqual(self.allowed(), [False, False])

    def test_unstored_decisions(self) -> None:
        self.permit(self.a)
        self.wait(1)
        self.database.is_reached = False
        done = self.b.backend.revoke_decisions(EVERYTHING)
        self.wait(3)
        self.assertEqual(self.successResultOf(done).unconfirmed, ("the audit store",))
        self.database.is_reached = True
        self.wait(8)
        self.end()
        self.start()
        self.assertEqual(self.allowed(), [False, False])

    def test_other_stores(self) -> None:
        """The replica of the administrator is killed before it has stored a revocation that the other one knows."""
        name = self.permit(self.a)
        self.wait(1)
        self.a.thread.at_once = False  # type: ignore[attr-defined]
        self.failureResultOf(self.revoke(self.a, name), Unanswered)
        self.kill(self.a)
        self.wait(6)
        self.stop(self.b)
        self.start()
        self.assertEqual(self.allowed(), [False, False])


class WitnessTests(StoredSharedTestCase):
    """A process that reads the store respects the revocations that only running processes know."""

    def test_unstored_elsewhere(self) -> None:
        """The other one knows a revocation that is not stored, so that no stored grant applies."""
        name = self.permit(self.a)
        self.wait(1)
        self.b.thread.at_once = False  # type: ignore[attr-defined]
        self.stop(self.a)
        self.failureResultOf(self.revoke(self.b, name), Unanswered)
        started = self.storing("c")
        self.assertFalse(self.allows(started))
        self.wait(10)
        self.assertFalse(self.allows(started))
        # Now it is stored.
        self.b.thread.run()  # type: ignore[attr-defined]
        self.b.thread.at_once = True  # type: ignore[attr-defined]
        self.wait(10)
        self.assertFalse(self.allows(started))
        self.permit(started, "/other")
        self.wait(1)
        self.assertTrue(self.allows(self.b, "/other"))

    def test_unresponsive(self) -> None:
        """A killed process counts until it is not a member any more."""
        self.permit(self.a)
        self.wait(1)
        self.kill(self.a, self.b)
        silent = Replica(self.clock, self.engine, "silent")
        self.wait(ALONE_AFTER + 1)
        started = self.storing("c")
        self.wait(ASK_SECONDS)
        self.assertFalse(self.allows(started))
        self.kill(silent)
        self.wait(EXPIRES + 8)
        self.assertTrue(self.allows(started))

    def test_leaving(self) -> None:
        """A process that ends need not respond."""
        self.permit(self.a)
        self.wait(1)
        self.end()
        silent = Replica(self.clock, self.engine, "silent")
        self.wait(ALONE_AFTER + 6)
        started = self.storing("c")
        self.assertFalse(self.allows(started))
        self.stop(silent)
        self.wait(5)
        self.assertTrue(self.allows(started))

    def test_return(self) -> None:
        """After a failure of the engine, a process that is not joined by all uses the store."""
        self.permit(self.a)
        self.wait(1)
        for each in (self.a, self.b):
            each.client.lose()
        self.assertEqual(self.allowed(), [False, False])
        self.kill(self.b)
        self.wait(EXPIRES)
        self.a.client.connect()
        self.wait(RETURN_WITHIN - 1)
        self.assertFalse(self.allows(self.a))
        self.wait(8)
        self.assertTrue(self.allows(self.a))

    def test_lost_while_reading(self) -> None:
        """A revocation can be missing if the connection was lost meanwhile."""
        self.permit(self.a)
        self.wait(1)
        self.end()
        started = StoringReplica(self.clock, self.engine, "c", self.database)
        started.thread.at_once = False
        self.wait(ALONE_AFTER + 1)
        arrive = started.thread.begin()
        started.client.lose()
        arrive()
        started.thread.at_once = True
        self.wait(5)
        self.assertFalse(self.allows(started))
        started.client.connect()
        self.wait(8)
        self.assertTrue(self.allows(started))

    def test_connected_again_while_reading(self) -> None:
        """The same if the process is connected again before the result arrives."""
        self.permit(self.a)
        self.wait(1)
        self.end()
        started = StoringReplica(self.clock, self.engine, "c", self.database)
        started.thread.at_once = False
        self.wait(ALONE_AFTER + 1)
        arrive = started.thread.begin()
        started.client.lose()
        started.client.connect()
        self.wait(1)
        self.assertTrue(started.approvals.register.is_joined)
        arrive()
        self.assertFalse(self.allows(started))
        started.thread.at_once = True
        self.wait(1)
        self.assertTrue(self.allows(started))

    def test_old_question(self) -> None:
        """Someone who can write to the engine repeats the events of the protocol."""
        self.permit(self.a)
        self.wait(20)
        kinds = ("stored-revocations-wanted", "revocations-stored")
        sent = [self.count(kind) for kind in kinds]
        for kind in kinds:
            self.repeat(kind)
        self.wait(3)
        self.assertEqual([self.count(kind) for kind in kinds], [2 * number for number in sent])
        self.assertNotIn(0, sent)
        self.assertEqual(self.allowed(), [True, True])

    def count(self, kind: str) -> int:
        """Return the number of events of a type."""
        ((name, events),) = self.engine.streams.items()
        keys = SharedKeys(SECRET, "events")
        return sum(json.loads(keys.unseal(name, fields[1]) or b"")["type"] == kind for _, fields in events)
