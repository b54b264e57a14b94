"""Tests for L{egress.config.option}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config import parsers as values
from egress.config.option import Option, Variable, by_name, similar


class OptionTests(SynchronousTestCase):
    """Properties that follow from the name of an option."""

    def option(self, metavar: str = "N", *variables: Variable) -> Option:
        return Option(
            name="max-things",
            group="Limits",
            metavar=metavar,
            help="How many.",
            default="1",
            fields=("things",),
            parse=values.number,
            variables=variables,
        )

    def test_variables(self) -> None:
        other = Variable(name="THINGS")
        self.assertEqual(self.option("N", other).environment, (Variable(name="EGRESS_MAX_THINGS"), other))

    def test_prefix(self) -> None:
        self.assertEqual(attrs.evolve(self.option(), prefix="OTHER_").variable, Variable(name="OTHER_MAX_THINGS"))

    def test_by_name(self) -> None:
        option = attrs.evolve(self.option(), aliases=("most-things",))
        self.assertEqual(by_name([option]), {"max-things": option, "most-things": option})

    def test_flag(self) -> None:
        self.assertTrue(self.option("").flag)
        self.assertFalse(self.option().flag)


class SimilarTests(SynchronousTestCase):
    """The name that a user may have meant."""

    def test_names(self) -> None:
        names = ["authz-url", "authz-timeout", "policy"]
        for given, expected in (
            ("autz-url", "authz-url"),
            ("AUTHZ_URL", "authz-url"),
            ("egress-proxy-authz-url", "authz-url"),
            ("EGRESS_POLICY", "policy"),
            ("egress-polcy", None),
            ("zzz", None),
        ):
            with self.subTest(given):
                self.assertEqual(similar(given, names), expected)
