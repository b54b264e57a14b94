"""Tests for L{egress.store.filter_sql}; L{tests.store.test_sqlite} has those of its results."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.store.filter_language import Condition, Equals, Filter, Matches, Prefix, Subdomain, Text, parse_filter
from egress.store.filter_sql import Dialect, compile_filter
from egress.store.postgresql_text import POSTGRESQL


class CompileTests(SynchronousTestCase):
    """Conditions in SQL."""

    def test_conditions(self) -> None:
        expected: tuple[Any, ...]
        for text, where, expected in (
            ("", "1 = 1", ()),
            ("host:a,b", "(exchanges.host IN (?, ?))", ("a", "b")),
            (
                "host:a,*.b",
                "(exchanges.host IN (?) OR substr(exchanges.host, length(exchanges.host) - 1) = ?)",
                ("a", ".b"),
            ),
            ("-rule:x", "(exchanges.rule_id IN (?)) IS NOT TRUE", ("x",)),
            ("status:5xx", "(exchanges.status BETWEEN ? AND ?)", (500, 599)),
            ("path:/a/**", "(substr(exchanges.path, 1, 3) = ?)", ("/a/",)),
            ("path:/*", "(exchanges.path REGEXP ?)", ("/[^/]*",)),
            (
                "client:10.1.2.3/8",
                "(in_network(exchanges.client_address, ?))",
                ("10.0.0.0/8",),
            ),
            ("client:c", "(exchanges.client_address IN (?) OR exchanges.identity IN (?))", ("c", "c")),
            ("since:1970-01-01T00:00:01Z", "exchanges.id >= ?", (1000 << 20,)),
            ("until:1970-01-01T00:00:01Z", "exchanges.id < ?", (1000 << 20,)),
            ("since:9999-12-31T23:00:00Z", "exchanges.id >= ?", ((1 << 63) - 1,)),
        ):
            with self.subTest(text):
                found = compile_filter(parse_filter(text, 0))
                self.assertEqual((found.where.text, found.where.parameters), (where, expected))
                self.assertEqual((found.table, found.id), ("exchanges", "exchanges.id"))

    def test_origin(self) -> None:
        """Only a server has the machine and the worker of each record."""
        for text, where in (("node:a", "(exchanges.node IN (?))"), ("worker:2", "(exchanges.worker BETWEEN ? AND ?)")):
            found = compile_filter(parse_filter(text, 0), POSTGRESQL)
            self.assertEqual(found.where.text, where)

    def test_texts(self) -> None:
        """Texts are one query of the index, so that it is read once."""
        found = compile_filter(parse_filter('a "B, c" -d since:1970-01-01', 0))
        self.assertEqual(found.where.parameters, ("a\nb c", 0, "d"))
        condition = "has_phrases(?, exchanges.reason, exchanges.url, exchanges.rule_id)"
        self.assertEqual(found.where.text, f"{condition} AND exchanges.id >= ? AND NOT {condition}")

    def test_dialect(self) -> None:
        """Another database has other operators."""
        postgres = Dialect(
            matches="~",
            pattern="^{}$".format,
            phrase=str.upper,
            both=" & ",
            contains="words @@ to_tsquery(?)",
            lacks="NOT words @@ to_tsquery(?)",
            text_table="exchanges",
            text_id="exchanges.id",
        )
        found = compile_filter(parse_filter("status:404 path:/* word other -none", 0), postgres)
        self.assertEqual(
            found.where.text,
            "words @@ to_tsquery(?) AND (exchanges.status BETWEEN ? AND ?) AND (exchanges.path ~ ?) "
            "AND NOT words @@ to_tsquery(?)",
        )
        self.assertEqual(found.where.parameters, ("WORD & OTHER", 404, 404, "^/[^/]*$", "NONE"))

    @given(some.text(min_size=1))
    def test_values_are_parameters(self, value: str) -> None:
        """No value of the user becomes a part of the statement."""
        tests = (Equals(value), Subdomain(value), Prefix(value), Matches(value))
        parts = Filter((Condition("host", tests), Condition("rule", tests, negated=True)), (Text(value),))
        found = compile_filter(parts).where
        self.assertEqual(found.text.count("?"), len(found.parameters))
        length = str(len(value.encode("utf-8", "backslashreplace").decode("utf-8")))
        without = found.text.replace(length, "").translate({ord(each): None for each in "0123456789"})
        other = Filter(
            (
                Condition("host", (Equals("x"), Subdomain("x"), Prefix("x"), Matches("x"))),
                Condition("rule", (Equals("x"), Subdomain("x"), Prefix("x"), Matches("x")), negated=True),
            ),
            (Text("x"),),
        )
        self.assertEqual(
            without, compile_filter(other).where.text.translate({ord(each): None for each in "0123456789"})
        )
        for parameter in (*found.parameters, *compile_filter(Filter(texts=(Text("\udcff"),))).where.parameters):
            str(parameter).encode("utf-8")
