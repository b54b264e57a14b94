"""Tests for L{egress.authz.decision_store}."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.authz.decision_store import MAX_LISTS, DecisionStore
from egress.model.authority import Authority, Origin
from egress.model.decision import ClientIdentity, Decision, DecisionRequest, Obligations, Verdict
from tests.authz.protocols.test_request_json import REQUEST


def said(verdict: Verdict = Verdict.ALLOW, reason: str = "why", **fields: Any) -> Decision:
    return Decision(verdict, reason, "who", **fields)


def changed(**changes: Any) -> DecisionRequest:
    return attrs.evolve(REQUEST, **changes)


def at(path: str, client: str = "192.0.2.1") -> DecisionRequest:
    return changed(path=path, client=ClientIdentity(client, 1))


WITHHELD = changed(body_withheld=True, content_length=5)
GIVEN = changed(body=b"hello", content_length=5)


class KeptTestCase(SynchronousTestCase):
    """Decisions that are kept."""

    def setUp(self) -> None:
        self.kept = DecisionStore(4, 100.0, 50.0)


class TimeTests(KeptTestCase):
    """For how long one is found."""

    def test_fresh(self) -> None:
        decision = said(ttl=10, rule_id="r", obligations=Obligations(max_bytes=5))
        self.kept.keep(REQUEST, decision, 1000)
        for now in (1000, 1009.9):
            with self.subTest(now):
                self.assertEqual(self.kept.fresh(REQUEST, now), attrs.evolve(decision, source="cache"))
        self.assertIsNone(self.kept.fresh(REQUEST, 1010))
        self.assertEqual(len(self.kept), 0)

    def test_a_clock_that_is_set_back(self) -> None:
        self.kept.keep(REQUEST, said(ttl=10, stale_if_error=10), 1000)
        self.assertIsNone(self.kept.fresh(REQUEST, 999))
        self.assertIsNone(self.kept.stale(REQUEST, 999))

    def test_stale(self) -> None:
        self.kept.keep(REQUEST, said(ttl=10, stale_if_error=20), 1000)
        self.assertIsNone(self.kept.fresh(REQUEST, 1015))
        stale = self.kept.stale(REQUEST, 1029.9)
        assert stale is not None
        self.assertEqual(stale.source, "stale")
        self.assertIsNone(self.kept.stale(REQUEST, 1030))
        self.assertIsNone(self.kept.fresh(REQUEST, 1030))
        self.assertEqual(len(self.kept), 0)

    def test_stale_alone(self) -> None:
        """An authorizer that wants to be asked each time, as long as it is there."""
        for ttl in (None, 0.0):
            with self.subTest(ttl):
                self.kept.keep(REQUEST, said(ttl=ttl, stale_if_error=20), 1000)
                self.assertIsNone(self.kept.fresh(REQUEST, 1000))
                self.assertIsNotNone(self.kept.stale(REQUEST, 1019))

    def test_bounds(self) -> None:
        self.kept.keep(REQUEST, said(ttl=1000, stale_if_error=1000), 0)
        self.assertIsNotNone(self.kept.fresh(REQUEST, 99))
        self.assertIsNone(self.kept.fresh(REQUEST, 100))
        self.assertIsNotNone(self.kept.stale(REQUEST, 149))
        self.assertIsNone(self.kept.stale(REQUEST, 150))

    def test_what_expires(self) -> None:
        """A permission that is asked for again is not the old one."""
        self.kept.keep(REQUEST, said(ttl=90, obligations=Obligations(expires_in=30.0)), 0)
        self.assertIsNotNone(self.kept.fresh(REQUEST, 29.9))
        self.assertIsNone(self.kept.fresh(REQUEST, 30))

    def test_what_expires_in_an_outage(self) -> None:
        """An outage makes no permission longer than its authorizer said."""
        for ttl, stale in ((0, 50), (20, 50), (90, 50)):
            with self.subTest(ttl):
                self.kept.keep(
                    REQUEST, said(ttl=ttl, stale_if_error=stale, obligations=Obligations(expires_in=30.0)), 0
                )
                self.assertIsNotNone(self.kept.stale(REQUEST, 29.9))
                self.assertIsNone(self.kept.stale(REQUEST, 30))

    def test_never_stale(self) -> None:
        kept = DecisionStore(4, 100.0, 0.0)
        kept.keep(REQUEST, said(ttl=10, stale_if_error=1000), 0)
        self.assertIsNone(kept.stale(REQUEST, 10))


class WhatTests(KeptTestCase):
    """Which decisions are kept."""

    def test_denials(self) -> None:
        self.kept.keep(REQUEST, said(Verdict.DENY, ttl=10), 0)
        found = self.kept.fresh(REQUEST, 5)
        assert found is not None
        self.assertIs(found.verdict, Verdict.DENY)

    def test_not_kept(self) -> None:
        for decision in (
            said(),
            said(ttl=0),
            said(Verdict.NEED_BODY, ttl=10, stale_if_error=10),
            said(Verdict.ASK, ttl=10, stale_if_error=10),
            said(ttl=10, stale_if_error=10, cache_key=("path", "phase-of-the-moon")),
        ):
            with self.subTest(decision):
                self.kept.keep(REQUEST, decision, 0)
                self.assertEqual(len(self.kept), 0)
                self.assertFalse(DecisionStore.reusable(decision))

    def test_reusable(self) -> None:
        self.assertTrue(DecisionStore.reusable(said(ttl=0.1)))
        self.assertTrue(DecisionStore.reusable(said(Verdict.DENY, ttl=5, cache_key=("path",))))
        self.assertFalse(DecisionStore.reusable(said(stale_if_error=5)))


class KeyTests(KeptTestCase):
    """For which questions one is found."""

    def test_all_parts(self) -> None:
        self.kept.keep(REQUEST, said(ttl=10), 0)
        self.assertIsNotNone(self.kept.fresh(changed(request_id="other"), 1))
        self.assertIsNone(self.kept.fresh(changed(client=ClientIdentity("192.0.2.9", 1)), 1))
        self.assertIsNone(self.kept.fresh(changed(client=ClientIdentity("192.0.2.1", 1, "ci")), 1))

    def test_some_parts(self) -> None:
        self.kept.keep(at("/a"), said(ttl=10, cache_key=("path",)), 0)
        self.assertIsNotNone(self.kept.fresh(at("/a?x", "192.0.2.9"), 1))
        self.assertIsNone(self.kept.fresh(at("/b"), 1))

    def test_never_another_origin(self) -> None:
        self.kept.keep(REQUEST, said(ttl=10, cache_key=()), 0)
        self.assertIsNotNone(self.kept.fresh(at("/any"), 1))
        self.assertIsNone(self.kept.fresh(changed(origin=Origin("https", Authority("example.org", 8443))), 1))

    def test_several_lists(self) -> None:
        self.kept.keep(at("/a"), said(reason="by path", ttl=10, cache_key=("path",)), 0)
        self.kept.keep(at("/b"), said(reason="by client", ttl=10, cache_key=("path", "client")), 0)
        for request, expected in (
            (at("/a", "192.0.2.9"), "by path"),
            (at("/b"), "by client"),
            (at("/b", "192.0.2.9"), None),
        ):
            with self.subTest(request):
                found = self.kept.fresh(request, 1)
                self.assertEqual(found and found.reason, expected)

    def test_the_latest_counts(self) -> None:
        self.kept.keep(at("/a"), said(ttl=10, cache_key=("path", "client")), 0)
        self.kept.keep(at("/a", "192.0.2.9"), said(Verdict.DENY, ttl=10, cache_key=("path",)), 0)
        found, stale = self.kept.fresh(at("/a"), 1), self.kept.stale(at("/a"), 1)
        assert found is not None and stale is not None
        self.assertEqual((found.verdict, stale.verdict), (Verdict.DENY, Verdict.DENY))

    def test_an_answer_counts_in_place_of_earlier_ones(self) -> None:
        """Whatever it says of its own reuse: no outage brings back what was taken back."""
        for decision in (said(Verdict.DENY), said(Verdict.ASK), said(ttl=5, cache_key=("?",))):
            with self.subTest(decision):
                self.kept.keep(at("/a"), said(ttl=10, stale_if_error=20), 0)
                self.kept.keep(at("/a"), said(ttl=10, stale_if_error=20, cache_key=("path",)), 0)
                self.kept.keep(at("/a"), decision, 15)
                self.assertIsNone(self.kept.stale(at("/a"), 16))

    def test_withheld_contents(self) -> None:
        self.kept.keep(WITHHELD, said(ttl=10), 0)
        self.assertIsNotNone(self.kept.fresh(WITHHELD, 1))
        self.assertIsNone(self.kept.fresh(GIVEN, 1))
        self.assertIsNone(self.kept.fresh(attrs.evolve(WITHHELD, content_length=6), 1))
        self.kept.keep(GIVEN, said(ttl=10), 0)
        self.assertIsNotNone(self.kept.fresh(GIVEN, 1))
        self.assertIsNotNone(self.kept.fresh(WITHHELD, 1))

    def test_contents_on_which_nothing_depends(self) -> None:
        self.kept.keep(GIVEN, said(ttl=10, cache_key=("path",)), 0)
        self.assertIsNotNone(self.kept.fresh(WITHHELD, 1))


class BoundsTests(KeptTestCase):
    """So many, and no more."""

    def test_the_least_recently_used_goes(self) -> None:
        for number in range(4):
            self.kept.keep(at(f"/{number}"), said(ttl=10), 0)
        self.kept.fresh(at("/0"), 1)
        self.kept.keep(at("/4"), said(ttl=10), 1)
        self.assertEqual(len(self.kept), 4)
        self.assertIsNone(self.kept.fresh(at("/1"), 1))
        for path in ("/0", "/2", "/3", "/4"):
            self.assertIsNotNone(self.kept.fresh(at(path), 1))

    def test_lists(self) -> None:
        kept = DecisionStore(100, 100, 0)
        kept.keep(REQUEST, said(ttl=10, cache_key=("path",)), 0)
        for number in range(MAX_LISTS):
            kept.keep(at(f"/{number}"), said(ttl=10, cache_key=("path", f"header:x-{number}")), 0)
        self.assertIsNone(kept.fresh(REQUEST, 1))
        kept.keep(REQUEST, said(ttl=10, cache_key=("path",)), 0)
        self.assertIsNotNone(kept.fresh(REQUEST, 1))

    def test_a_list_that_comes_again(self) -> None:
        """What was said under it before it was forgotten may have been taken back meanwhile."""
        kept = DecisionStore(100, 100, 0)
        kept.keep(at("/a"), said(ttl=90, cache_key=("path",)), 0)
        for number in range(MAX_LISTS):
            kept.keep(at(f"/{number}"), said(ttl=90, cache_key=("path", f"header:x-{number}")), 0)
        kept.keep(at("/a"), said(Verdict.DENY), 1)
        kept.keep(at("/b"), said(ttl=90, cache_key=("path",)), 2)
        self.assertIsNone(kept.fresh(at("/a"), 3))
        self.assertIsNotNone(kept.fresh(at("/b"), 3))

    def test_origins(self) -> None:
        for number in range(10):
            self.kept.keep(changed(origin=Origin("http", Authority(f"h{number}.test", 80))), said(ttl=10), 0)
        self.assertEqual((len(self.kept), len(self.kept._lists)), (4, 4))

    def test_clear(self) -> None:
        self.kept.keep(REQUEST, said(ttl=10, stale_if_error=10), 0)
        self.kept.clear()
        self.assertIsNone(self.kept.fresh(REQUEST, 1))
        self.assertIsNone(self.kept.stale(REQUEST, 1))
        self.assertEqual(len(self.kept), 0)

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
    def test_a_simple_model(self, steps: list[tuple[str, str, tuple[str, ...] | None, int, bool]]) -> None:
        """What is found was said to a question that is equal in what it depends on, and not too long ago."""
        kept, now = DecisionStore(4, 100, 50), 0.0
        history: list[tuple[DecisionRequest, Decision, float]] = []
        for number, (path, client, parts, ttl, asks) in enumerate(steps):
            now += 3
            request = at(path, client)
            found = kept.fresh(request, now)
            if found is not None:
                when, where = next((when, one) for one, each, when in history if each.reason == found.reason)
                self.assertLess(now, when + (found.ttl or 0))
                for part in ("path", "client") if found.cache_key is None else found.cache_key:
                    same = where.path == path if part == "path" else where.client.address == client
                    self.assertTrue(same)
            elif asks:
                decision = said(reason=str(number), ttl=ttl, cache_key=parts)
                kept.keep(request, decision, now)
                history.append((request, decision, now))
                self.assertEqual(kept.fresh(request, now) is not None, ttl > 0)
            self.assertLessEqual(len(kept), 4)
