"""Tests for L{egress.authz.decision_store}."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.cache_key import scope_of
from egress.authz.decision_store import MAX_LISTS, DecisionStore
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Obligations, Verdict
from egress.model.revocation import Revocation, RevocationKind
from tests.authz.protocols.requests import REQUEST, changed


def revocation(kind: str, value: str) -> Revocation:
    return Revocation(RevocationKind(kind), value, 0.0, "alice", "rev-1")


def decision_with(verdict: Verdict = Verdict.ALLOW, reason: str = "why", **fields: Any) -> Decision:
    return Decision(verdict, reason, "who", **fields)


def at(path: str, client: str = "192.0.2.1") -> DecisionRequest:
    return changed(path=path, client=ClientIdentity(client, 1))


WITHHELD = changed(body_withheld=True, content_length=5)
GIVEN = changed(body=b"hello", content_length=5)


class StoreTestCase(SynchronousTestCase):
    """Base: a store of decisions."""

    def setUp(self) -> None:
        self.store = DecisionStore(4, 100.0, 50.0)


class TimeTests(StoreTestCase):
    """How long a decision is found."""

    def test_fresh(self) -> None:
        decision = decision_with(ttl=10, rule_id="r", obligations=Obligations(max_bytes=5))
        self.store.add(REQUEST, decision, 1000)
        for now in (1000, 1009.9):
            with self.subTest(now):
                self.assertEqual(self.store.fresh(REQUEST, now), attrs.evolve(decision, source="cache"))
        self.assertIsNone(self.store.fresh(REQUEST, 1010))
        self.assertEqual(len(self.store), 0)

    def test_clock_that_is_set_back(self) -> None:
        self.store.add(REQUEST, decision_with(ttl=10, stale_if_error=10), 1000)
        self.assertIsNone(self.store.fresh(REQUEST, 999))
        self.assertIsNone(self.store.stale(REQUEST, 999))

    def test_stale(self) -> None:
        self.store.add(REQUEST, decision_with(ttl=10, stale_if_error=20), 1000)
        self.assertIsNone(self.store.fresh(REQUEST, 1015))
        stale = self.store.stale(REQUEST, 1029.9)
        assert stale is not None
        self.assertEqual(stale.source, "stale")
        self.assertIsNone(self.store.stale(REQUEST, 1030))
        self.assertIsNone(self.store.fresh(REQUEST, 1030))
        self.assertEqual(len(self.store), 0)

    def test_stale_only(self) -> None:
        """A service that wants each request, while it responds."""
        for ttl in (None, 0.0):
            with self.subTest(ttl):
                self.store.add(REQUEST, decision_with(ttl=ttl, stale_if_error=20), 1000)
                self.assertIsNone(self.store.fresh(REQUEST, 1000))
                self.assertIsNotNone(self.store.stale(REQUEST, 1019))

    def test_limits(self) -> None:
        self.store.add(REQUEST, decision_with(ttl=1000, stale_if_error=1000), 0)
        self.assertIsNotNone(self.store.fresh(REQUEST, 99))
        self.assertIsNone(self.store.fresh(REQUEST, 100))
        self.assertIsNotNone(self.store.stale(REQUEST, 149))
        self.assertIsNone(self.store.stale(REQUEST, 150))

    def test_expires_in(self) -> None:
        """A reauthorization is never answered with the expired decision."""
        self.store.add(REQUEST, decision_with(ttl=90, obligations=Obligations(expires_in=30.0)), 0)
        self.assertIsNotNone(self.store.fresh(REQUEST, 29.9))
        self.assertIsNone(self.store.fresh(REQUEST, 30))

    def test_expires_in_during_a_failure(self) -> None:
        """A failure does not extend a lease beyond the time that the authorizer set."""
        for ttl, stale in ((0, 50), (20, 50), (90, 50)):
            with self.subTest(ttl):
                self.store.add(
                    REQUEST, decision_with(ttl=ttl, stale_if_error=stale, obligations=Obligations(expires_in=30.0)), 0
                )
                self.assertIsNotNone(self.store.stale(REQUEST, 29.9))
                self.assertIsNone(self.store.stale(REQUEST, 30))

    def test_never_stale(self) -> None:
        store = DecisionStore(4, 100.0, 0.0)
        store.add(REQUEST, decision_with(ttl=10, stale_if_error=1000), 0)
        self.assertIsNone(store.stale(REQUEST, 10))


class VerdictTests(StoreTestCase):
    """Which decisions are stored."""

    def test_denials(self) -> None:
        self.store.add(REQUEST, decision_with(Verdict.DENY, ttl=10), 0)
        found = self.store.fresh(REQUEST, 5)
        assert found is not None
        self.assertIs(found.verdict, Verdict.DENY)

    def test_not_stored(self) -> None:
        for decision in (
            decision_with(),
            decision_with(ttl=0),
            decision_with(Verdict.NEED_BODY, ttl=10, stale_if_error=10),
            decision_with(Verdict.ASK, ttl=10, stale_if_error=10),
            decision_with(ttl=10, stale_if_error=10, cache_key=("path", "phase-of-the-moon")),
        ):
            with self.subTest(decision):
                self.store.add(REQUEST, decision, 0)
                self.assertEqual(len(self.store), 0)
                self.assertFalse(DecisionStore.reusable(decision))

    def test_reusable(self) -> None:
        self.assertTrue(DecisionStore.reusable(decision_with(ttl=0.1)))
        self.assertTrue(DecisionStore.reusable(decision_with(Verdict.DENY, ttl=5, cache_key=("path",))))
        self.assertFalse(DecisionStore.reusable(decision_with(stale_if_error=5)))


class KeyTests(StoreTestCase):
    """For which requests a decision is found."""

    def test_all_parts(self) -> None:
        self.store.add(REQUEST, decision_with(ttl=10), 0)
        self.assertIsNotNone(self.store.fresh(changed(request_id="other"), 1))
        self.assertIsNone(self.store.fresh(changed(client=ClientIdentity("192.0.2.9", 1)), 1))
        self.assertIsNone(self.store.fresh(changed(client=ClientIdentity("192.0.2.1", 1, "ci")), 1))

    def test_some_parts(self) -> None:
        self.store.add(at("/a"), decision_with(ttl=10, cache_key=("path",)), 0)
        self.assertIsNotNone(self.store.fresh(at("/a?x", "192.0.2.9"), 1))
        self.assertIsNone(self.store.fresh(at("/b"), 1))

    def test_other_origin(self) -> None:
        self.store.add(REQUEST, decision_with(ttl=10, cache_key=()), 0)
        self.assertIsNotNone(self.store.fresh(at("/any"), 1))
        self.assertIsNone(self.store.fresh(changed(origin=Origin("https", Authority("example.org", 8443))), 1))

    def test_several_lists(self) -> None:
        self.store.add(at("/a"), decision_with(reason="by path", ttl=10, cache_key=("path",)), 0)
        self.store.add(at("/b"), decision_with(reason="by client", ttl=10, cache_key=("path", "client")), 0)
        for request, expected in (
            (at("/a", "192.0.2.9"), "by path"),
            (at("/b"), "by client"),
            (at("/b", "192.0.2.9"), None),
        ):
            with self.subTest(request):
                found = self.store.fresh(request, 1)
                self.assertEqual(found and found.reason, expected)

    def test_latest_decision_overrides(self) -> None:
        self.store.add(at("/a"), decision_with(ttl=10, cache_key=("path", "client")), 0)
        self.store.add(at("/a", "192.0.2.9"), decision_with(Verdict.DENY, ttl=10, cache_key=("path",)), 0)
        found, stale = self.store.fresh(at("/a"), 1), self.store.stale(at("/a"), 1)
        assert found is not None and stale is not None
        self.assertEqual((found.verdict, stale.verdict), (Verdict.DENY, Verdict.DENY))

    def test_decision_overrides_earlier_ones(self) -> None:
        """It does so even if it is not reusable: a failure does not restore a revoked decision."""
        for decision in (
            decision_with(Verdict.DENY),
            decision_with(Verdict.ASK),
            decision_with(ttl=5, cache_key=("?",)),
        ):
            with self.subTest(decision):
                self.store.add(at("/a"), decision_with(ttl=10, stale_if_error=20), 0)
                self.store.add(at("/a"), decision_with(ttl=10, stale_if_error=20, cache_key=("path",)), 0)
                self.store.add(at("/a"), decision, 15)
                self.assertIsNone(self.store.stale(at("/a"), 16))

    def test_withheld_content(self) -> None:
        self.store.add(WITHHELD, decision_with(ttl=10), 0)
        self.assertIsNotNone(self.store.fresh(WITHHELD, 1))
        self.assertIsNone(self.store.fresh(GIVEN, 1))
        self.assertIsNone(self.store.fresh(attrs.evolve(WITHHELD, content_length=6), 1))
        self.store.add(GIVEN, decision_with(ttl=10), 0)
        self.assertIsNotNone(self.store.fresh(GIVEN, 1))
        self.assertIsNotNone(self.store.fresh(WITHHELD, 1))

    def test_content_that_is_no_part(self) -> None:
        self.store.add(GIVEN, decision_with(ttl=10, cache_key=("path",)), 0)
        self.assertIsNotNone(self.store.fresh(WITHHELD, 1))


class BoundsTests(StoreTestCase):
    """The size of the store is limited."""

    def test_least_recently_used_is_replaced(self) -> None:
        for number in range(4):
            self.store.add(at(f"/{number}"), decision_with(ttl=10), 0)
        self.store.fresh(at("/0"), 1)
        self.store.add(at("/4"), decision_with(ttl=10), 1)
        self.assertEqual(len(self.store), 4)
        self.assertIsNone(self.store.fresh(at("/1"), 1))
        for path in ("/0", "/2", "/3", "/4"):
            self.assertIsNotNone(self.store.fresh(at(path), 1))

    def test_number_of_lists(self) -> None:
        store = DecisionStore(100, 100, 0)
        store.add(REQUEST, decision_with(ttl=10, cache_key=("path",)), 0)
        for number in range(MAX_LISTS):
            store.add(at(f"/{number}"), decision_with(ttl=10, cache_key=("path", f"header:x-{number}")), 0)
        self.assertIsNone(store.fresh(REQUEST, 1))
        store.add(REQUEST, decision_with(ttl=10, cache_key=("path",)), 0)
        self.assertIsNotNone(store.fresh(REQUEST, 1))

    def test_list_that_returns(self) -> None:
        """Decisions that were stored under it before may have been revoked meanwhile."""
        store = DecisionStore(100, 100, 0)
        store.add(at("/a"), decision_with(ttl=90, cache_key=("path",)), 0)
        for number in range(MAX_LISTS):
            store.add(at(f"/{number}"), decision_with(ttl=90, cache_key=("path", f"header:x-{number}")), 0)
        store.add(at("/a"), decision_with(Verdict.DENY), 1)
        store.add(at("/b"), decision_with(ttl=90, cache_key=("path",)), 2)
        self.assertIsNone(store.fresh(at("/a"), 3))
        self.assertIsNotNone(store.fresh(at("/b"), 3))

    def test_number_of_origins(self) -> None:
        requests = [changed(origin=Origin("http", Authority(f"h{number}.test", 80))) for number in range(10)]
        for request in requests:
            self.store.add(request, decision_with(ttl=10), 0)
        known = [self.store.may_contain(scope_of(request)) for request in requests]
        self.assertEqual((len(self.store), known), (4, [False] * 6 + [True] * 4))

    def test_clear(self) -> None:
        self.store.add(REQUEST, decision_with(ttl=10, stale_if_error=10), 0)
        self.store.clear()
        self.assertIsNone(self.store.fresh(REQUEST, 1))
        self.assertIsNone(self.store.stale(REQUEST, 1))
        self.assertEqual(len(self.store), 0)

    def test_revoked_host(self) -> None:
        """The decisions on other hosts remain."""
        other = changed(origin=Origin("https", Authority("b.test", 443)))
        for request in (REQUEST, at("/b"), other):
            self.store.add(request, decision_with(ttl=10, stale_if_error=10), 0)
        host = REQUEST.origin.authority.host
        self.assertEqual(self.store.revoke(revocation("host", f"*.{host}")), 0)
        self.assertEqual(self.store.revoke(revocation("host", host)), 2)
        self.assertEqual(len(self.store), 1)
        self.assertIsNone(self.store.fresh(REQUEST, 1))
        self.assertIsNone(self.store.stale(REQUEST, 1))
        self.assertIsNotNone(self.store.fresh(other, 1))

    def test_revoked_rule(self) -> None:
        self.store.add(REQUEST, decision_with(ttl=10, rule_id="r1"), 0)
        self.store.add(at("/b"), decision_with(ttl=10), 0)
        self.assertEqual(self.store.revoke(revocation("rule", "r2")), 0)
        self.assertEqual(self.store.revoke(revocation("rule", "r1")), 1)
        self.assertIsNone(self.store.fresh(REQUEST, 1))
        self.assertIsNotNone(self.store.fresh(at("/b"), 1))

    def test_revoked_otherwise(self) -> None:
        """A decision may apply to other clients and requests than its first."""
        for kind, value in (("client", "x"), ("decision", "id-9"), ("all", "")):
            self.store.add(REQUEST, decision_with(ttl=10), 0)
            self.assertEqual(self.store.revoke(revocation(kind, value)), 1)
            self.assertIsNone(self.store.fresh(REQUEST, 1))

    @settings(max_examples=200)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["/a", "/b", "/c", "/d", "/e", "/f"]),
                st.sampled_from(["192.0.2.1", "192.0.2.2"]),
                st.sampled_from([None, ("path",), ("client",), ("path", "client"), ()]),
                st.integers(0, 20),
                st.booleans(),
            ),
            max_size=30,
        )
    )
    def test_model(self, steps: list[tuple[str, str, tuple[str, ...] | None, int, bool]]) -> None:
        """A decision is found only for a request that is equal in all parts on which it depends, and only until it
        expires.
        """
        store, now = DecisionStore(4, 100, 50), 0.0
        history: list[tuple[DecisionRequest, Decision, float]] = []
        for number, (path, client, parts, ttl, asks) in enumerate(steps):
            now += 3
            request = at(path, client)
            found = store.fresh(request, now)
            if found is not None:
                when, where = next((when, one) for one, each, when in history if each.reason == found.reason)
                self.assertLess(now, when + (found.ttl or 0))
                for part in ("path", "client") if found.cache_key is None else found.cache_key:
                    same = where.path == path if part == "path" else where.client.address == client
                    self.assertTrue(same)
            elif asks:
                decision = decision_with(reason=str(number), ttl=ttl, cache_key=parts)
                store.add(request, decision, now)
                history.append((request, decision, now))
                self.assertEqual(store.fresh(request, now) is not None, ttl > 0)
            self.assertLessEqual(len(store), 4)
