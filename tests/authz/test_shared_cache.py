"""Tests for L{egress.authz.shared_cache}."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from egress.authz import shared_cache as module
from egress.authz import shared_decisions
from egress.authz.shared_decisions import MAX_VALUE
from egress.interfaces import IAuthorizer
from egress.model.authority import Authority, Origin
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import ClientIdentity, Decision, Obligations, Verdict
from egress.model.errors import AuthorizerUnavailable
from egress.model.revocation import Revocation, RevocationKind
from egress.shared.events import MAX_SKEW
from egress.shared.redis_protocol import SharedUnavailable
from tests.authz.protocols.requests import REQUEST
from tests.authz.replicas import KEYS, Replica, SharedCacheTestCase
from tests.authz.test_decision_store import decision_with


class ReuseTests(SharedCacheTestCase):
    """A decision is reused by all replicas, as the authorizer permits."""

    def test_interface(self) -> None:
        verifyObject(IAuthorizer, self.one.cache)
        self.assertEqual(self.one.cache.name, "manual")
        self.successResultOf(self.one.cache.close())
        self.assertTrue(self.one.authorizer.closed)

    def test_fresh(self) -> None:
        decision = decision_with(
            Verdict.ALLOW, ttl=10, stale_if_error=5, obligations=Obligations(set_headers=((b"x", b"secret"),))
        )
        self.share(decision)
        self.clock.advance(4)
        found = self.successResultOf(self.two.decide(request_id="id-2"))
        self.assertEqual(found, attrs.evolve(decision, source="replica", ttl=6))
        self.clock.advance(6)
        self.two.decide()
        self.assertEqual((self.one.asked, self.two.asked), (1, 1))
        stats = self.two.cache.stats()
        self.assertEqual((stats.hits, stats.misses, stats.failed, stats.rejected), (1, 1, 0, 0))

    def test_nothing_is_readable(self) -> None:
        """Neither a name nor a value contains anything of the request or of the decision."""
        self.share(decision_with(ttl=10, obligations=Obligations(set_headers=((b"x", b"hunter2"),))))
        for name, (value, _) in self.engine.values.items():
            for text in (b"hunter2", REQUEST.origin.authority.host.encode(), REQUEST.path.encode()[1:] or b"GET"):
                self.assertNotIn(text, name + value)

    def test_second_lookup(self) -> None:
        """A replica that knows the parts finds a decision with one command."""
        self.share(decision_with(ttl=10, cache_key=("method",)))
        self.two.decide()
        self.engine.commands.clear()
        self.assertEqual(self.source(self.two.decide(path="/other")), "replica")
        self.assertEqual(len(self.engine.commands), 1)

    def test_parts(self) -> None:
        self.share(decision_with(ttl=10, cache_key=("method",)))
        self.share(decision_with(Verdict.DENY, ttl=10), method="PUT")
        self.assertEqual(self.source(self.two.decide(path="/other")), "replica")
        self.assertEqual(self.successResultOf(self.two.decide(method="PUT")).verdict, Verdict.DENY)
        for changes in (
            {"method": "DELETE"},
            {"method": "PUT", "client": ClientIdentity("192.0.2.9", 1)},
            {"origin": Origin("https", Authority("other.test", 443))},
        ):
            self.assertNoResult(self.two.decide(**changes))
        self.assertEqual(self.two.asked, 3)

    def test_not_reusable(self) -> None:
        """Without a time to live there is nothing to share, and no command for the next request."""
        for decision in (
            decision_with(),
            decision_with(ttl=0),
            decision_with(Verdict.ASK, ttl=5),
            decision_with(Verdict.NEED_BODY, ttl=5),
            decision_with(ttl=5, cache_key=("no such part",)),
        ):
            with self.subTest(decision):
                self.share(decision)
                self.assertEqual(self.engine.names("decision"), [])
                self.engine.commands.clear()
                self.share(decision)
                self.assertEqual(self.engine.commands, [])
        self.share(decision_with(ttl=5))
        self.assertEqual(self.source(self.one.decide()), "replica")

    def test_limits(self) -> None:
        """The limits of the reader apply, too."""
        self.share(decision_with(ttl=1000, stale_if_error=1000))
        (value,) = [self.engine.values[name] for name in self.engine.names("decision")]
        self.assertEqual(value[1], 150)
        self.assertEqual(self.successResultOf(self.two.decide()).ttl, 100)
        strict = Replica(self.clock, self.engine, max_ttl=10)
        self.assertEqual(self.successResultOf(strict.decide()).ttl, 10)
        self.clock.advance(20)
        self.assertNoResult(strict.decide())

    def test_too_large(self) -> None:
        self.share(decision_with(ttl=10, obligations=Obligations(set_headers=((b"x", b"v" * MAX_VALUE),))))
        self.assertEqual(self.engine.names("decision"), [])

    def test_later_decision(self) -> None:
        """It replaces all earlier ones for the request, even if it cannot be reused."""
        self.share(decision_with(ttl=10, stale_if_error=20, cache_key=("method",)))
        self.clock.advance(11)
        self.share(decision_with(Verdict.DENY))
        self.two.authorizer.at_once = AuthorizerUnavailable("down")
        self.failureResultOf(self.two.decide(), AuthorizerUnavailable)

    def test_latest_of_several(self) -> None:
        """Decisions can be stored under several lists of parts: the latest one counts."""
        for first, second in ((Verdict.ALLOW, Verdict.DENY), (Verdict.DENY, Verdict.ALLOW)):
            self.setUp()
            self.share(decision_with(first, ttl=50, cache_key=("method",)))
            earlier = {name: self.engine.values[name] for name in self.engine.names("decision")}
            self.clock.advance(1)
            self.engine.values.clear()
            self.share(decision_with(second, ttl=50, cache_key=("path",)))
            # A replica that did not find the earlier decision does not delete it.
            self.engine.values.update(earlier)
            (name,) = self.engine.names("lists")
            self.engine.values[name] = (KEYS.seal(name, b'[["path"],["method"]]'), 1e9)
            self.assertEqual(self.successResultOf(self.two.decide()).verdict, second)

    def test_clear(self) -> None:
        """A replica that was told to forget uses no earlier decision of any replica."""
        self.share(decision_with(ttl=50))
        self.two.cache.clear()
        self.assertNoResult(self.two.decide())
        self.clock.advance(MAX_SKEW)
        self.two.answer(decision_with(Verdict.DENY, ttl=50))
        self.share(decision_with(ttl=50), method="PUT")
        self.assertEqual(self.source(self.two.decide(method="PUT")), "replica")

    def test_clear_during_a_call(self) -> None:
        first = self.one.decide()
        self.one.cache.clear()
        self.one.answer(decision_with(ttl=50))
        self.assertIsNone(self.source(first))
        self.assertEqual(self.engine.names("decision"), [])

    def test_forgotten_scopes(self) -> None:
        self.patch(shared_decisions, "MAX_SCOPES", 2)
        for number in range(4):
            self.share(decision_with(), origin=Origin("http", Authority(f"h{number}.test", 80)))
        for number, looks in ((3, False), (0, True)):
            self.engine.commands.clear()
            self.one.decide(origin=Origin("http", Authority(f"h{number}.test", 80)))
            self.assertEqual(bool(self.engine.commands), looks)


class RevocationTests(SharedCacheTestCase):
    """A decision is void unless it is later than each revocation."""

    def revoke(self, name: str, *replicas: Replica) -> None:
        for replica in replicas:
            replica.cache.revoke(Revocation(RevocationKind.ALL, "", 0.0, "", name))

    def share_anew(self) -> None:
        """Let the first replica call the authorizer."""
        self.engine.values.clear()
        self.share(decision_with(ttl=50))

    def assert_used(self, replica: Replica, used: bool) -> None:
        """Check whether a replica uses the shared decision."""
        replica.authorizer.at_once = decision_with(Verdict.DENY)
        self.assertEqual(self.source(replica.decide()), "replica" if used else None)

    def test_earlier_decision(self) -> None:
        self.share_anew()
        self.revoke("r", self.one, self.two)
        self.assert_used(self.two, False)

    def test_known_to_both(self) -> None:
        """The replica that asked knew of the revocation, so the clocks do not matter."""
        self.revoke("q", self.one, self.two)
        self.revoke("r", self.two, self.one)
        self.share_anew()
        self.assert_used(self.two, True)

    def test_not_known_to_the_replica_that_asked(self) -> None:
        self.revoke("q", self.one, self.two)
        self.revoke("r", self.two)
        self.share_anew()
        self.assert_used(self.two, False)
        self.clock.advance(MAX_SKEW)
        self.share_anew()
        self.assert_used(self.two, True)

    def test_late(self) -> None:
        """A replica learns of a revocation later than others."""
        self.revoke("r", self.one)
        for seconds, used in ((9.0, True), (1.0, False)):
            self.clock.advance(seconds)
            late = Replica(self.clock, self.engine)
            self.revoke("r", late)
            self.share_anew()
            self.assert_used(late, used)
        self.clock.advance(MAX_SKEW)
        self.share_anew()
        self.assert_used(late, True)

    def test_many(self) -> None:
        """Of too many revocations, the earliest void decisions by the time alone."""
        self.patch(shared_decisions, "MAX_REVOCATIONS", 2)
        for name in "abc":
            self.revoke(name, self.one, self.two)
        self.share_anew()
        self.assert_used(self.two, False)
        self.clock.advance(MAX_SKEW)
        self.share_anew()
        self.assert_used(self.two, True)

    def test_during_a_call(self) -> None:
        first = self.one.decide()
        self.revoke("r", self.one)
        self.one.answer(decision_with(ttl=50))
        self.assertIsNone(self.source(first))
        self.assertEqual(self.engine.names("decision"), [])


class StaleTests(SharedCacheTestCase):
    """While the authorizer fails, the stale decision of another replica is reused."""

    def setUp(self) -> None:
        super().setUp()
        self.share(decision_with(ttl=10, stale_if_error=20))
        self.clock.advance(15)

    def test_failures(self) -> None:
        for kind in AuthzFailure:
            with self.subTest(kind):
                self.two.authorizer.at_once = AuthorizerUnavailable("down", kind)
                call = self.two.decide()
                if kind in (AuthzFailure.CANCELLED, AuthzFailure.REQUEST):
                    self.failureResultOf(call, AuthorizerUnavailable)
                else:
                    found = self.successResultOf(call)
                    self.assertEqual((found.source, found.ttl, found.stale_if_error), ("stale", None, None))
        self.assertGreater(self.two.cache.stats().stale, 0)

    def test_expiry(self) -> None:
        self.two.authorizer.at_once = AuthorizerUnavailable("down")
        self.clock.advance(14.9)
        self.assertEqual(self.source(self.two.decide()), "stale")
        self.clock.advance(0.1)
        self.failureResultOf(self.two.decide(), AuthorizerUnavailable)

    def test_expiry_during_the_call(self) -> None:
        call = self.two.decide()
        self.clock.advance(15)
        self.two.answer(AuthorizerUnavailable("down"))
        self.failureResultOf(call, AuthorizerUnavailable)

    def test_recovery(self) -> None:
        self.two.authorizer.at_once = decision_with(Verdict.DENY, ttl=5)
        self.assertEqual(self.successResultOf(self.two.decide()).verdict, Verdict.DENY)
        self.assertEqual(self.successResultOf(self.one.decide()).verdict, Verdict.DENY)


class SingleFlightTests(SharedCacheTestCase):
    """One replica makes the call for all."""

    def test_one_call(self) -> None:
        first, second = self.one.decide(), self.two.decide()
        self.clock.pump([0.05] * 20)
        self.assertEqual((self.one.asked, self.two.asked), (1, 0))
        self.one.answer(decision_with(Verdict.DENY, ttl=10))
        self.assertIsNone(self.source(first))
        self.clock.advance(module.LAST_POLL)
        self.assertEqual(self.source(second), "replica")
        self.assertEqual(self.two.cache.stats().waited, 1)
        self.assertEqual(self.engine.names("lease"), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_shared_between_lookup_and_lease(self) -> None:
        """A decision that another replica shares after the first lookup is found with the lease."""
        waiting = self.two.client.pending = []
        second = self.two.decide()
        ((looked, command),) = waiting
        nothing = self.engine.execute(*command)
        self.two.client.pending = None
        self.share(decision_with(Verdict.DENY, ttl=10))
        looked.callback(nothing)
        self.assertEqual(self.source(second), "replica")
        self.assertEqual(self.two.asked, 0)
        self.assertEqual(self.engine.names("lease"), [])

    def test_cancel_the_second_lookup(self) -> None:
        """It releases the lease, too."""
        waiting = self.two.client.pending = []
        call = self.two.decide()
        looked, command = waiting.pop()
        looked.callback(self.engine.execute(*command))
        (acquired, command), _ = waiting
        acquired.callback(self.engine.execute(*command))
        self.assertEqual(len(self.engine.names("lease")), 1)
        self.two.client.pending = None
        call.cancel()
        error = self.failureResultOf(call, AuthorizerUnavailable).value
        self.assertIs(error.kind, AuthzFailure.CANCELLED)
        self.assertEqual(self.engine.names("lease"), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_reusable(self) -> None:
        """Then each request gets a decision of its own, at once."""
        first, second = self.one.decide(), self.two.decide()
        self.one.answer(decision_with())
        self.assertIsNone(self.source(first))
        self.clock.advance(module.FIRST_POLL)
        self.assertEqual(self.two.asked, 1)
        self.two.answer(decision_with(Verdict.DENY))
        self.assertEqual(self.successResultOf(second).verdict, Verdict.DENY)

    def test_failure(self) -> None:
        """A failure is not shared: the next replica makes its own call."""
        first, second = self.one.decide(), self.two.decide()
        self.one.answer(AuthorizerUnavailable("down"))
        self.failureResultOf(first, AuthorizerUnavailable)
        self.clock.advance(module.FIRST_POLL)
        self.two.answer(decision_with())
        self.assertIsNone(self.source(second))

    def test_killed(self) -> None:
        """The lease of a replica that was killed expires."""
        dead = Replica(Clock(), self.engine)
        dead.decide()
        waiting = self.two.decide()
        self.clock.advance(module.FIRST_POLL)
        self.assertEqual(self.two.asked, 0)
        self.clock.pump([module.LAST_POLL] * 12)
        self.assertEqual(self.two.asked, 1)
        self.two.answer(decision_with())
        self.assertIsNone(self.source(waiting))

    def test_patience(self) -> None:
        """An authorizer that does not respond does not hold all replicas up."""
        self.one.decide()
        self.two.decide()
        self.clock.pump([0.1] * 49)
        self.assertEqual(self.two.asked, 0)
        self.clock.pump([0.1] * 3)
        self.assertEqual(self.two.asked, 1)

    def test_max_waiting(self) -> None:
        two = Replica(self.clock, self.engine, max_waiting=1)
        self.one.decide()
        self.one.decide(path="/2")
        two.decide()
        two.decide(path="/2")
        self.assertEqual([request.path for request, _ in two.authorizer.asked], ["/2"])

    def test_cancel_the_wait(self) -> None:
        self.one.decide()
        call = self.two.decide()
        call.cancel()
        error = self.failureResultOf(call, AuthorizerUnavailable).value
        self.assertIs(error.kind, AuthzFailure.CANCELLED)
        self.assertEqual(self.two.asked, 0)

    def test_cancel_the_call(self) -> None:
        """It releases the lease."""
        call = self.one.decide()
        self.assertEqual(len(self.engine.names("lease")), 1)
        call.cancel()
        self.failureResultOf(call, AuthorizerUnavailable)
        self.assertEqual((self.one.authorizer.cancelled, self.engine.names("lease")), (1, []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lost_lease(self) -> None:
        """A replica that stopped for a while does not release the lease of another one."""
        self.one.decide()
        (name,) = self.engine.names("lease")
        self.engine.values[name] = (b"other", 1e9)
        self.clock.advance(module.RENEWAL)
        self.one.answer(decision_with())
        self.assertEqual(self.engine.get(name), b"other")


class UnavailableTests(SharedCacheTestCase):
    """Without the engine, each replica calls the authorizer."""

    def test_no_connection(self) -> None:
        self.share(decision_with(ttl=10))
        self.one.client.fault = "down"
        self.one.authorizer.at_once = decision_with(Verdict.DENY, ttl=5)
        self.assertEqual(self.successResultOf(self.one.decide()).verdict, Verdict.DENY)
        self.assertEqual(self.one.cache.stats().failed, 0)
        self.one.client.fault = None
        self.assertEqual(self.source(self.one.decide()), "replica")

    def test_errors(self) -> None:
        self.one.client.rejects = True
        self.share(decision_with(ttl=10))
        self.assertEqual(self.engine.values, {})
        self.assertEqual(self.one.cache.stats().failed, 3)

    def test_lost_during_each_command(self) -> None:
        """Whichever command fails, the request gets the decision of the authorizer."""
        for executed in range(4):
            with self.subTest(executed):
                self.setUp()
                call = self.lose_after(executed)
                self.assertIsNone(self.source(call))

    def lose_after(self, executed: int) -> Deferred[Decision]:
        replica = self.two
        replica.authorizer.at_once = decision_with(ttl=10)
        replica.client.pending = []
        call = replica.decide()
        for _ in range(executed):
            replica.client.flush()
            replica.client.pending = []
        pending, replica.client.pending = replica.client.pending, None
        replica.client.fault = "lost"
        for deferred, _ in pending or ():
            deferred.errback(SharedUnavailable("lost"))
        return call

    def test_lost_while_waiting(self) -> None:
        self.one.decide()
        call = self.two.decide()
        self.two.client.fault = "lost"
        self.clock.advance(module.FIRST_POLL)
        self.two.answer(decision_with())
        self.assertIsNone(self.source(call))
