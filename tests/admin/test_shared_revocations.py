"""Tests for L{egress.admin.shared_revocations}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.admin.shared_revocations import CONFIRM_WITHIN, SharedRevocations
from egress.interfaces import IRevocations
from egress.model.revocation import Revocation, RevocationCounts
from egress.shared.ca_fingerprints import CaComparison, SharedViews
from egress.shared.confirmations import Confirmations
from egress.shared.events import INTERVAL, SharedEvents
from egress.shared.keys import SharedKeys
from egress.shared.state import SharedState
from tests.proxy.revoking import revocation
from tests.shared.engine import Engine, EngineClient


@implementer(IRevocations)
class Local:
    """Applies revocations.

    @ivar running: while it is a list, revocations are not complete; it has their Deferreds.
    """

    def __init__(self) -> None:
        self.applied: list[Revocation] = []
        self.running: list[Deferred[RevocationCounts]] | None = None

    def apply(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        self.applied.append(revocation)
        if self.running is None:
            return succeed(RevocationCounts(tunnels=1))
        deferred: Deferred[RevocationCounts] = Deferred()
        self.running.append(deferred)
        return deferred


class Process:
    """A process of a replica."""

    def __init__(self, clock: Clock, engine: Engine, node: str, *, is_worker: bool = False) -> None:
        self.client = EngineClient(engine)
        client: Any = self.client
        self.events = SharedEvents(clock, client, SharedKeys(bytes(32), "events"), clock.seconds, node=node)
        ca = CaComparison(clock, SharedViews(client, SharedKeys(bytes(32), "ca"), clock.seconds))
        state = SharedState(client, self.events, Confirmations(clock, self.events), ca, secret=bytes(32))
        self.local = Local()
        self.revocations = SharedRevocations(self.local, state, is_worker=is_worker)
        self.events.start()
        self.client.on_connected()


class SharedRevocationsTests(SynchronousTestCase):
    """A revocation applies to all replicas."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = Engine(self.clock)
        self.one, self.two, self.three = (Process(self.clock, self.engine, node) for node in "abc")
        self.wait(3)

    def wait(self, seconds: float = CONFIRM_WITHIN + 0.1) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def test_both(self) -> None:
        verifyObject(IRevocations, self.one.revocations)
        received: list[Revocation] = []
        self.two.revocations.on_received = received.append
        sent = revocation()
        applied = self.one.revocations.apply(sent)
        self.wait(INTERVAL + 0.2)
        self.assertEqual(self.successResultOf(applied), RevocationCounts(tunnels=1, confirmed=("b", "c")))
        self.assertEqual([len(each.local.applied) for each in (self.one, self.two, self.three)], [1, 1, 1])
        self.assertEqual(received, [sent])

    def test_not_confirmed(self) -> None:
        """The administrator learns which replicas may still apply the decisions."""
        self.two.client.lose()
        applied = self.one.revocations.apply(revocation())
        self.wait()
        self.assertEqual(
            self.successResultOf(applied), RevocationCounts(tunnels=1, confirmed=("c",), unconfirmed=("b",))
        )

    def test_incomplete(self) -> None:
        """A process confirms a revocation when its tunnels have ended."""
        self.two.local.running = []
        applied = self.one.revocations.apply(revocation())
        self.wait(1)
        self.assertNoResult(applied)
        self.two.local.running[0].callback(RevocationCounts())
        self.wait(0.2)
        self.assertEqual(self.successResultOf(applied).unconfirmed, ())

    def test_engine_away(self) -> None:
        for each in (self.one, self.two, self.three):
            each.client.lose()
        self.assertEqual(self.successResultOf(self.one.revocations.apply(revocation())).unconfirmed, ("b", "c"))
        self.wait(20)
        counts = self.successResultOf(self.one.revocations.confirm(revocation()))
        self.assertEqual(counts, RevocationCounts(unconfirmed=("other replicas",)))

    def test_alone(self) -> None:
        process = Process(self.clock, Engine(self.clock), "a")
        self.wait(3)
        applied = process.revocations.apply(revocation())
        self.assertEqual(self.successResultOf(applied), RevocationCounts(tunnels=1))

    def test_replica_that_stopped(self) -> None:
        """It is not a member any more."""
        self.successResultOf(self.two.events.leave())
        self.two.events.stop()
        self.wait(INTERVAL + 0.1)
        applied = self.one.revocations.apply(revocation())
        self.wait()
        self.assertEqual(self.successResultOf(applied).confirmed, ("c",))

    def test_hidden(self) -> None:
        """Someone who can write to the engine removes the first event: the second one has the revocation, too.

        If both are removed, nobody confirms.
        """
        for removed, expected in ((1, 1), (2, 0)):
            before = len(self.two.local.applied)
            applied = self.one.revocations.apply(attrs.evolve(revocation(), revocation_id=f"v{removed}"))
            ((_, events),) = self.engine.streams.items()
            del events[-2 : len(events) - 2 + removed]
            self.wait()
            self.assertEqual(len(self.two.local.applied) - before, expected)
            self.assertEqual(self.successResultOf(applied).unconfirmed, () if expected else ("b", "c"))

    def test_worker(self) -> None:
        """A worker applies it without waiting; the supervisor asks one of them for the confirmations."""
        worker = Process(self.clock, self.engine, "d", is_worker=True)
        self.wait(3)
        sent = revocation()
        self.assertEqual(self.successResultOf(worker.revocations.apply(sent)), RevocationCounts(tunnels=1))
        confirmed = worker.revocations.confirm(sent)
        self.wait(INTERVAL + 0.2)
        self.assertEqual(self.successResultOf(confirmed), RevocationCounts(confirmed=("a", "b", "c")))
        self.assertEqual([len(each.local.applied) for each in (self.one, self.two, self.three)], [1, 1, 1])
