"""Tests for L{egress.model.message}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.message import BOTH, Direction, MessageObligation, obligation_fault


class ObligationTests(SynchronousTestCase):
    """The validation of the obligation, which may come from third-party code."""

    def test_valid(self) -> None:
        for terms in (None, MessageObligation(), MessageObligation(frozenset({Direction.CLIENT}), 1)):
            self.assertIsNone(obligation_fault(terms))
        self.assertEqual(MessageObligation().directions, BOTH)

    def test_invalid(self) -> None:
        invalid: list[tuple[Any, str]] = [
            (True, "not a MessageObligation object"),
            (MessageObligation(frozenset()), "directions"),
            (MessageObligation(frozenset({"client"})), "directions"),  # type: ignore[arg-type]
            (MessageObligation({Direction.CLIENT}), "directions"),  # type: ignore[arg-type]
            (MessageObligation(max_size=0), "size"),
            (MessageObligation(max_size=True), "size"),
            (MessageObligation(max_size=1.0), "size"),  # type: ignore[arg-type]
        ]
        for terms, words in invalid:
            with self.subTest(terms):
                self.assertIn(words, str(obligation_fault(terms)))
