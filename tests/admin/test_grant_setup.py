"""Tests for L{egress.admin.grant_setup}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.admin.grant_setup import (
    approval_key,
    decisions_revoked,
    grant_revoked,
    grants_of,
    supervisor_grants,
    use_alone,
)
from egress.admin.shared_grants import GrantRevoked
from egress.admin.stored_grants import STORED_WITHIN
from egress.authz.approvals import Approvals
from egress.config.admin_endpoint import AdminEndpoint
from egress.config.model import ProxyConfig
from egress.config.shared import SharedSettings
from egress.model.approval import ApprovalAnswer
from egress.model.revocation import Revocation, RevocationCounts, RevocationKind
from egress.model.shared_location import SharedLocation
from egress.runtime.role import DRY_RUN, SUPERVISOR, WHOLE, Role
from egress.store.grant_key import KEY_FILE
from tests.admin.test_shared_approvals import ASK, Replica
from tests.admin.test_stored_grants import Process
from tests.authz.fakes import REQUEST
from tests.files import make_directory
from tests.shared.engine import Engine
from tests.store.grant_cases import NOW, MemoryDatabase, grant, store_of

WORKER = Role((), b"w" * 32, worker=1)
SHARED = SharedSettings(location=SharedLocation.parse("redis://127.0.0.1"), key=b"k" * 32)


class ConfigurationTests(SynchronousTestCase):
    """Which process of which configuration stores grants."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.config = ProxyConfig(
            audit_store="postgresql://user@127.0.0.1:1/audit",
            ca_dir=make_directory(self).absolute(),
            admin=AdminEndpoint.parse("unix:/run/admin.sock"),
        )
        self.approvals = Approvals(self.clock, self.clock.seconds, timeout=5, limit=5, is_open=True)

    def stores(self, role: Role = WHOLE, state: Any = None, **changes: Any) -> bool:
        config = attrs.evolve(self.config, **changes)
        found = grants_of(self.clock, config, role, approvals=self.approvals, state=state)
        self.assertIs(found.shared is None, state is None)
        self.assertEqual(list(found.checks), [] if found.stored is None else ["grants"])
        return found.stored is not None

    def test_stores(self) -> None:
        self.assertTrue(self.stores())
        for changes in ({"audit_store": None}, {"audit_store": "sqlite:/audit.db"}, {"admin": None}):
            self.assertFalse(self.stores(**changes), changes)
            self.assertIsNone(supervisor_grants(self.clock, attrs.evolve(self.config, **changes)), changes)
        self.assertFalse(self.stores(DRY_RUN))

    def test_workers(self) -> None:
        """Workers use the store if they are connected to other replicas, and otherwise their supervisor does."""
        self.assertFalse(self.stores(WORKER))
        self.assertIsNotNone(supervisor_grants(self.clock, self.config))
        state = Replica(self.clock, Engine(self.clock), "a").state
        self.assertTrue(self.stores(WORKER, state, shared=SHARED))
        self.assertTrue(self.stores(WHOLE, state, shared=SHARED, admin=None))
        self.assertIsNone(supervisor_grants(self.clock, attrs.evolve(self.config, shared=SHARED)))

    def test_key(self) -> None:
        """The ids of grants are the same after a restart, and the workers have the key of their supervisor."""
        found = approval_key(self.config, WHOLE)
        self.assertEqual(len(found), 32)
        self.assertEqual({approval_key(self.config, role) for role in (WHOLE, SUPERVISOR)}, {found})
        self.assertEqual(approval_key(self.config, WORKER), b"w" * 32)
        self.assertEqual(approval_key(attrs.evolve(self.config, admin=None), WHOLE), b"")
        shared = attrs.evolve(self.config, shared=SHARED)
        self.assertEqual(len({approval_key(shared, role) for role in (WHOLE, SUPERVISOR, WORKER, DRY_RUN)}), 1)

    def test_dry_run(self) -> None:
        """An explanation creates no key."""
        self.assertEqual(approval_key(self.config, DRY_RUN), b"")
        self.stores(DRY_RUN)
        self.assertFalse((self.config.ca_dir / KEY_FILE).exists())


class AloneTests(SynchronousTestCase):
    """The grants of the only process."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.database = MemoryDatabase()
        self.stored = Process(self.clock, self.database).stored

        def now() -> float:
            return NOW + self.clock.seconds()

        self.approvals = Approvals(self.clock, now, timeout=300, limit=5, is_open=True, key=b"k" * 32)
        use_alone(self.approvals, self.stored)

    def permit(self, seconds: float = 60) -> str:
        """Let an approver make a grant, and return its id."""
        held = self.approvals.enqueue(REQUEST, ASK)
        (name,) = self.approvals.tokens
        made = self.approvals.answer(name, ApprovalAnswer(True, seconds))[1]
        assert made is not None
        self.assertTrue(self.successResultOf(held).allowed)
        self.clock.advance(0.1)
        return made.grant_id

    def in_database(self) -> int:
        return len(store_of(self.database).read(NOW + self.clock.seconds()).grants)

    def test_stored(self) -> None:
        name = self.permit()
        self.assertEqual(self.in_database(), 1)
        self.approvals.revoke_matching(Revocation(RevocationKind.ALL, "", NOW + 5, "ann", "r"))
        self.successResultOf(self.wait(self.stored.stored()))
        self.assertEqual(self.in_database(), 0)
        self.assertTrue(self.stored.ended(name))

    def wait(self, result: Deferred[Any], seconds: float = 0.1) -> Deferred[Any]:
        self.clock.advance(seconds)
        return result

    def test_used(self) -> None:
        """An earlier grant does not replace a later one of the same scope."""
        name = self.permit()
        store_of(self.database).write([grant(name, NOW - 9), grant("other", NOW - 9)], [], NOW)
        self.stored.read()
        self.clock.advance(0.2)
        self.assertEqual(
            [(each.grant_id, each.until - each.created) for each in self.approvals.grants],
            [(name, 60), ("other", 3600)],
        )

    def test_revoked(self) -> None:
        """The result waits for the store."""
        self.assertEqual(self.successResultOf(self.revoke(None)), GrantRevoked(True, ()))
        self.assertEqual(self.successResultOf(self.wait(self.revoke(self.stored))), GrantRevoked(True, ()))
        self.assertEqual(self.successResultOf(self.wait(self.revoke(self.stored, False))), GrantRevoked(False, ()))
        self.database.is_reached = False
        late = self.wait(self.revoke(self.stored), STORED_WITHIN)
        self.assertEqual(self.successResultOf(late), GrantRevoked(True, (), is_stored=False))

    def revoke(self, stored: Any, existed: bool = True) -> Deferred[GrantRevoked]:
        self.stored.revoke("g")
        return grant_revoked(succeed(GrantRevoked(existed, ())), stored, "g")

    def test_only_stored(self) -> None:
        """A grant that is stored, and was not read, existed."""
        store_of(self.database).write([grant()], [], NOW)
        self.assertEqual(self.successResultOf(self.wait(self.revoke(self.stored, False))), GrantRevoked(True, ()))

    def test_decisions(self) -> None:
        counts = RevocationCounts(1, 2, 3, 4)
        self.assertEqual(self.successResultOf(decisions_revoked(succeed(counts), None)), counts)
        self.assertEqual(self.successResultOf(decisions_revoked(succeed(counts), self.stored)), counts)
        self.database.is_reached = False
        self.stored.revoke("g")
        late = self.wait(decisions_revoked(succeed(counts), self.stored), STORED_WITHIN)
        self.assertEqual(self.successResultOf(late).unconfirmed, ("the audit store",))
