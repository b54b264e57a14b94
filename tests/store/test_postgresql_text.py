"""Tests for L{egress.store.postgresql_text}; L{tests.integration.test_postgresql} has those of its results."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.store.filter_language import parse_filter
from egress.store.filter_sql import compile_filter
from egress.store.keywords import words
from egress.store.postgresql_text import POSTGRESQL, path_words, phrase, vector


class WordTests(SynchronousTestCase):
    """Words have positions."""

    def test_vector(self) -> None:
        """There is a gap between two texts, so that no phrase goes from one to the next."""
        self.assertEqual(vector(("a b", None, "b")), "a:1 b:2 b:5")
        self.assertEqual(vector(("a " * 20_000, "b")).split()[-1], "a:16000")
        self.assertEqual(vector(("x" * 600,)), "x" * 500 + ":1")

    def test_phrase(self) -> None:
        self.assertEqual(phrase("no-admin"), "('no' <-> 'admin':*)")
        self.assertEqual(phrase("\u00b7"), "''")

    @given(some.text())
    def test_no_syntax(self, text: str) -> None:
        """No character of a text has a meaning in the syntax of PostgreSQL."""
        for word in words(text):
            self.assertTrue(word.isalnum(), ascii(word))
        self.assertEqual(vector((text,)).count(":"), len(words(text)))


class PathTests(SynchronousTestCase):
    """The words of a path limit the records in which a condition is tested."""

    def test_queries(self) -> None:
        for text, expected in (
            ("path:/v1/items", "(('v1' <-> 'items'))"),
            ("path:/v1/it**", "(('v1' <-> 'it':*))"),
            ("path:/v1/**", "(('v1'))"),
            ("path:/v1/*/items", "(('v1') & ('items'))"),
            ("path:/v1*x/a-b", "(('v1':*) & ('a' <-> 'b'))"),
            ("path:/v1,/v2/*", "(('v1')) | (('v2'))"),
            ("path:/v1,/*", None),
            ("path:/*x*", None),
            ("-path:/v1", None),
            ("host:a", None),
            ("path:/\u00fc", None),
        ):
            with self.subTest(text):
                self.assertEqual(path_words(parse_filter(text, 0).conditions[0]), expected)


class DialectTests(SynchronousTestCase):
    """Conditions in the SQL of PostgreSQL."""

    def test_conditions(self) -> None:
        found = compile_filter(parse_filter("path:/a/*/b a -b", 0), POSTGRESQL)
        self.assertEqual((found.table, found.id), ("exchanges", "exchanges.id"))
        self.assertEqual(
            found.where.text,
            "exchanges.words @@ ?::tsquery AND (exchanges.path ~ ?) AND NOT exchanges.words @@ ?::tsquery",
        )
        self.assertEqual(found.where.parameters, ("('a':*)", "^(?:/a/[^/]*/b)$", "('b':*)"))
