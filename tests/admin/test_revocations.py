"""Tests for L{egress.admin.revocations}; L{tests.proxy.test_revocations} has what a revocation ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from egress.interfaces import IRevocations
from egress.model.revocation import RevocationCounts
from egress.proxy.revocations import Cutoff
from tests.proxy.fakes import ProxyTestCase
from tests.proxy.revoking import FakeChain, revocation, revocations_of


class _Session:
    """A session with one request, whose end takes half a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.cutoffs: list[Cutoff] = []
        self.fails: list[str] = []
        self.calls: list[str] = []

    def drain(self) -> None:
        pass

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise RuntimeError(name)

    def abort(self) -> None:
        self._call("abort")

    def revoke(self, cutoff: Cutoff) -> None:
        self._call("revoke")
        self._clock.rightNow += 0.5
        self.cutoffs.append(cutoff)
        cutoff.requests += 1


class LocalRevocationsTests(ProxyTestCase):
    """One process."""

    def setUp(self) -> None:
        super().setUp()
        self.sessions = [_Session(self.clock) for _ in range(5)]
        for session in self.sessions:
            self.proxy.parts.sessions.add(session)
        self.revocations = revocations_of(self.proxy)

    def tearDown(self) -> None:
        for session in self.sessions:
            self.proxy.parts.sessions.discard(session)
        super().tearDown()

    def revoked(self) -> int:
        """The number of sessions that were revoked."""
        return sum(session.calls[:1] == ["revoke"] for session in self.sessions)

    def test_the_interface(self) -> None:
        verifyObject(IRevocations, self.revocations)

    def test_bounded_turns(self) -> None:
        """Many connections take several turns of the reactor, each of a limited time."""
        result = self.revocations.apply(revocation())
        self.assertEqual(self.revoked(), 2)
        self.assertNoResult(result)
        gone = next(session for session in self.sessions if not session.calls)
        self.proxy.parts.sessions.discard(gone)
        self.clock.advance(0)
        self.assertEqual(gone.calls, [], "it has ended meanwhile")
        self.assertEqual(self.successResultOf(result), RevocationCounts(3, 1, 0, 4))

    def test_later_decisions_remain(self) -> None:
        """A request that begins while a revocation runs has a decision from after it."""
        result = self.revocations.apply(revocation())
        self.client.feed(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(result).requests, 5)
        self.assertFalse(self.client.aborted)

    def test_once(self) -> None:
        """A revocation can arrive by several ways."""
        once = revocation("rule", "r1")
        for number in (5, 0):
            result = self.revocations.apply(once)
            self.clock.advance(0)
            self.assertEqual(self.successResultOf(result).requests, number)
        self.assertEqual(self.revocations.counts()["rule"], 1)

    def test_caches(self) -> None:
        """The decisions that replicas share are not used any more."""
        chain = FakeChain()
        chain.shared_cache, chain.cache = chain, None
        once = revocation()
        result = revocations_of(self.proxy, chain).apply(once)
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(result).cached, 0)
        self.assertEqual(chain.revoked, [once])

    def test_counts(self) -> None:
        for kind, value in (("client", "a"), ("rule", "r"), ("rule", "q")):
            self.revocations.apply(revocation(kind, value))
            for _ in range(3):
                self.clock.advance(0)
        expected = {"client": 1, "host": 0, "rule": 2, "decision": 0, "all": 0}
        self.assertEqual(self.revocations.counts(), expected)

    def test_a_defect(self) -> None:
        """A session that cannot be revoked is aborted, and the others are revoked."""
        self.sessions[0].fails = ["revoke"]
        self.sessions[1].fails = ["revoke", "abort"]
        result: Any = self.revocations.apply(revocation())
        self.clock.advance(0)
        self.assertEqual(self.successResultOf(result).requests, 3)
        self.assertEqual([each.calls for each in self.sessions], [["revoke", "abort"]] * 2 + [["revoke"]] * 3)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 3)
