"""Tests for L{egress.authz.shared_decisions}."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from egress.authz.shared_decisions import MAX_VALUE
from egress.model.authority import Authority, Origin
from egress.model.decision import Verdict
from egress.shared.keys import SharedKeys
from tests.authz.replicas import Replica, SharedCacheTestCase
from tests.authz.test_decision_store import decision_with
from tests.shared.engine import Engine


class LookupTests(SharedCacheTestCase):
    """Lookups of several requests at the same time."""

    def test_lists_change_meanwhile(self) -> None:
        """Each of them finds its decision, although the first one learns the parts."""
        for path in ("/1", "/2"):
            self.share(decision_with(ttl=10, cache_key=("method", "path")), path=path)
        self.two.client.pending = []
        calls = [self.two.decide(path=path) for path in ("/1", "/2")]
        for _ in range(3):
            self.two.client.flush()
            if self.two.client.pending is None:
                self.two.client.pending = []
        self.assertEqual([self.source(call) for call in calls], ["replica", "replica"])
        self.assertEqual(self.two.asked, 0)


class AttackerTests(SharedCacheTestCase):
    """Someone who can write to the engine can deny and delay, and never allow."""

    def setUp(self) -> None:
        super().setUp()
        self.share(decision_with(ttl=10, cache_key=("method", "path")))
        self.two.authorizer.at_once = decision_with(Verdict.DENY)

    def assert_denied(self, **changes: Any) -> None:
        replica = Replica(self.clock, self.engine)
        replica.authorizer.at_once = decision_with(Verdict.DENY)
        self.assertEqual(self.successResultOf(replica.decide(**changes)).verdict, Verdict.DENY)

    def copy_of(self, pattern: str) -> bytes:
        (name,) = self.engine.names(pattern)
        return self.engine.values[name][0]

    def test_copied(self) -> None:
        """An allow for one request, under the name of another one."""
        allow, lists = self.copy_of("decision"), self.copy_of("lists")
        other = Replica(self.clock, self.engine)
        other.authorizer.at_once = decision_with(Verdict.DENY, ttl=10, cache_key=("method", "path"))
        other.decide(path="/other")
        for name in list(self.engine.values):
            self.engine.values[name] = (allow if b":decision:" in name else lists, 1e9)
        replica = Replica(self.clock, self.engine)
        replica.authorizer.at_once = decision_with(Verdict.DENY)
        self.assertEqual(self.successResultOf(replica.decide(path="/other")).verdict, Verdict.DENY)
        # It is read again with the lease.
        self.assertEqual(replica.cache.stats().rejected, 2)

    def test_lists_of_another_origin(self) -> None:
        lists = self.copy_of("lists")
        origin = Origin("https", Authority("other.test", 443))
        elsewhere = Engine(self.clock)
        other = Replica(self.clock, elsewhere)
        other.authorizer.at_once = decision_with(ttl=10)
        other.decide(origin=origin)
        (name,) = elsewhere.names("lists")
        self.engine.values[name] = (lists, 1e9)
        self.assert_denied(origin=origin)

    def test_another_key(self) -> None:
        """A value of someone who has another key, such as a replica of another fleet, is logged once a minute."""
        other = SharedKeys(b"x" * 32, "service")
        for name in list(self.engine.values):
            self.engine.values[name] = (other.seal(name, b"[]"), 1e9)
        for _ in range(3):
            self.assertEqual(self.successResultOf(self.two.decide()).verdict, Verdict.DENY)
            self.two.cache.clear()
        self.assertEqual(self.two.cache.stats().rejected, 3)

    def test_prolonged(self) -> None:
        """A value that does not expire in the engine still expires."""
        for name, (value, _) in list(self.engine.values.items()):
            self.engine.values[name] = (value, 1e9)
        self.clock.advance(10)
        self.assert_denied()

    def test_garbage(self) -> None:
        for garbage in (b"x", b"\0" * 100, b"[]", b"x" * (MAX_VALUE + 10)):
            for name in list(self.engine.values):
                self.engine.values[name] = (garbage, 1e9)
            self.assert_denied()

    def test_lease_that_never_ends(self) -> None:
        """It delays a request for a bounded time."""
        elsewhere = Engine(self.clock)
        # It would release its lease when it is collected.
        holder = Replica(Clock(), elsewhere)
        holder.decide(path="/new")
        (name,) = elsewhere.names("lease")
        self.engine.values[name] = (b"attacker", 1e9)
        call = self.two.decide(path="/new")
        self.clock.pump([0.1] * 52)
        self.assertEqual(self.successResultOf(call).verdict, Verdict.DENY)

    def test_future(self) -> None:
        """A replica whose clock is ahead does not prolong a decision."""
        ahead = Replica(self.clock, self.engine, ahead=60)
        ahead.authorizer.at_once = decision_with(ttl=60)
        ahead.decide(path="/ahead")
        self.assert_denied(path="/ahead")
