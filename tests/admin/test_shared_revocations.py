"""Tests for L{egress.admin.shared_revocations}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.admin.shared_revocations import SharedRevocations
from egress.interfaces import IRevocations
from egress.model.revocation import Revocation, RevocationCounts
from egress.shared.events import INTERVAL, SharedEvents
from egress.shared.keys import SharedKeys
from tests.proxy.revoking import revocation
from tests.shared.engine import Engine, EngineClient


@implementer(IRevocations)
class Local:
    """Applies revocations."""

    def __init__(self) -> None:
        self.applied: list[Revocation] = []

    def apply(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        self.applied.append(revocation)
        return succeed(RevocationCounts(tunnels=1))


class SharedRevocationsTests(SynchronousTestCase):
    """A revocation applies to all replicas."""

    def test_both(self) -> None:
        clock = Clock()
        engine = Engine(clock)
        keys = SharedKeys(bytes(32), "events")
        members: list[tuple[Local, SharedRevocations]] = []
        for _ in range(2):
            client: Any = EngineClient(engine)
            events = SharedEvents(clock, client, keys, clock.seconds)
            local = Local()
            members.append((local, SharedRevocations(local, events)))
            events.start()
            client.on_connected()
        clock.pump([INTERVAL] * 3)
        (one, revocations), (two, _) = members
        verifyObject(IRevocations, revocations)
        sent = revocation()
        self.assertEqual(self.successResultOf(revocations.apply(sent)).tunnels, 1)
        clock.pump([INTERVAL] * 3)
        self.assertEqual((len(one.applied), len(two.applied)), (1, 1))
