"""Tests for L{egress.model.errors}."""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import Decision, Verdict
from egress.model.errors import (
    OUTCOMES,
    BudgetExhausted,
    ClientError,
    Denied,
    EgressError,
    OriginError,
    UpstreamError,
    UpstreamRefused,
    outcome_of,
)

# Base classes, which are never raised themselves.
GROUPS = {EgressError, ClientError, OriginError, UpstreamError}


def _subclasses(kind: type[EgressError]) -> Iterator[type[EgressError]]:
    for subclass in kind.__subclasses__():
        if subclass.__module__ == EgressError.__module__:
            yield subclass
            yield from _subclasses(subclass)


class OutcomeTests(SynchronousTestCase):
    """Every error has an outcome of its own."""

    def test_complete(self) -> None:
        self.assertEqual(set(OUTCOMES), set(_subclasses(EgressError)) - GROUPS)

    def test_codes_are_the_names_of_the_classes(self) -> None:
        codes = [outcome.code for outcome in OUTCOMES.values()]
        names = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.__name__).lower() for kind in OUTCOMES]
        self.assertEqual(codes, names)
        self.assertEqual(len(codes), len(set(codes)))

    def test_status_codes_by_party_at_fault(self) -> None:
        for kind, outcome in OUTCOMES.items():
            with self.subTest(kind.__name__):
                if outcome.status is None:
                    self.assertTrue(issubclass(kind, ClientError))
                elif issubclass(kind, ClientError):
                    self.assertNotIn(outcome.status, (403, 502, 503, 504))
                elif issubclass(kind, OriginError):
                    self.assertIn(outcome.status, (502, 504))
                # A denial that ends by itself says when.
                is_denial = outcome.status == 403 or kind is BudgetExhausted
                self.assertEqual(is_denial, outcome.verdict == "deny")

    def test_lookup(self) -> None:
        decision = Decision(Verdict.DENY, "no", "x")
        self.assertEqual(outcome_of(Denied(decision)).code, "denied")
        self.assertRaises(KeyError, outcome_of, EgressError("no entry"))

    def test_reasons(self) -> None:
        self.assertEqual(Denied(Decision(Verdict.DENY, "no", "x")).reason, "no")
        error = UpstreamRefused("refused with 407", 407)
        self.assertEqual((error.reason, str(error), error.status), ("refused with 407", "refused with 407", 407))
