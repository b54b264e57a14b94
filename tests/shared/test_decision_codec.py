"""Tests for L{egress.shared.decision_codec}."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.budget import By, Unit, WithoutShared
from egress.model.decision import Decision, Obligations, Verdict
from egress.model.message import Direction, MessageObligation
from egress.shared.decision_codec import SharedDecision, decode, encode
from tests.authz.budgets.fleet import budget

SMALL = SharedDecision(
    decision=Decision(Verdict.DENY, "no\ud800", "x", ttl=5), since=1.5, fresh_until=6.5, stale_until=6.5
)
LARGE = SharedDecision(
    decision=Decision(
        Verdict.ALLOW,
        "ja: 中文",
        "a service",
        rule_id="r",
        policy_version="7-abc",
        ttl=60,
        stale_if_error=0.5,
        cache_key=("method", "header:x"),
        enforce_in_observe=True,
        obligations=Obligations(
            set_headers=((b"X-\xff", b"\x80v"), (b"x", b"")),
            remove_headers=(b"cookie",),
            max_bytes=7,
            expires_in=90.5,
            secret_headers=((b"a", b"${secret:s}"),),
            messages=MessageObligation(frozenset({Direction.CLIENT}), 99),
            budgets=(budget(), budget(Unit.BYTES, 7, 0.5, by=By.HOST, without_shared=WithoutShared.DENY)),
        ),
    ),
    since=1e9 + 0.25,
    fresh_until=1e9 + 60,
    stale_until=1e9 + 61,
    revocations=("r", "q"),
)


class DecisionCodecTests(SynchronousTestCase):
    """A decision is the same after the way through the engine."""

    def test_round_trip(self) -> None:
        for shared in (SMALL, LARGE):
            self.assertEqual(decode(encode(shared)), shared)
        both = attrs.evolve(LARGE.decision.obligations, messages=MessageObligation())
        changed = attrs.evolve(LARGE, decision=attrs.evolve(LARGE.decision, obligations=both))
        self.assertEqual(decode(encode(changed)), changed)

    def test_source(self) -> None:
        """The source is that of the reader."""
        shared = attrs.evolve(SMALL, decision=attrs.evolve(SMALL.decision, source="stale"))
        self.assertEqual(decode(encode(shared)), SMALL)

    def test_other_content(self) -> None:
        """Another version, or a fault, is no decision."""
        for content in (b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b"[2,[1,2,3],[],[],[],null]"):
            self.assertIsNone(decode(content), content[:40])

    def test_each_value(self) -> None:
        """A value of another type at any place is no decision."""
        document = json.loads(encode(LARGE))
        places = list(_places(document))
        self.assertGreater(len(places), 30)
        for place in places:
            others: tuple[Any, ...] = ({}, "?", -1e400, [[]])
            for other in others:
                changed = json.loads(encode(LARGE))
                inner = changed
                for step in place[:-1]:
                    inner = inner[step]
                if inner[place[-1]] == other:
                    continue
                inner[place[-1]] = other
                found = decode(json.dumps(changed).encode())
                if found is not None:
                    # A text in place of another text, or a value that is only a truth value.
                    self.assertTrue(other == "?" or place == (4, 3), (place, other))
                    self.assertIn(found.decision.verdict, (Verdict.ALLOW, Verdict.DENY))


def _places(document: Any, start: tuple[int, ...] = ()) -> Any:
    if isinstance(document, list):
        for index, each in enumerate(document):
            yield (*start, index)
            yield from _places(each, (*start, index))
