"""Tests for L{egress.store.keywords}; L{tests.store.search_cases} has those of its results."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import ClientIdentity
from egress.model.record import ExchangeRecord
from egress.store.filter_language import Filter, parse_filter
from egress.store.filter_sql import compile_filter
from egress.store.keywords import folded, has_phrases, index_query, keywords_of, phrase, words
from egress.store.row import row_of
from egress.store.sqlite import SqliteStore
from tests.observability.records import ALLOWED

# Few different words, so that filters match some records, with the separators and letters that matter.
_SOME_WORDS = some.sampled_from(
    [
        "a",
        "Ab",
        "abc",
        "v1",
        "items",
        "S\u00e3o",
        "SAO",
        "stra\u00dfe",
        "\u0130x",
        "\u00bd",
        "\u212a",
        "e\u0301",
        "\udcff",
    ]
)
_SEPARATORS = some.sampled_from([" ", "-", "/", ".", "_", "", "\u2013", "\0", "\u0301"])
_TEXTS = some.lists(some.tuples(_SOME_WORDS, _SEPARATORS), min_size=1, max_size=4).map(
    lambda pairs: "".join(word + separator for word, separator in pairs)
)
_ADDRESSES = some.sampled_from(["10.0.0.1", "10.1.0.1", "172.16.3.4", "2001:db8::1", "unix", ""])


@some.composite
def _records(draw: Any) -> ExchangeRecord:
    host, path = draw(some.sampled_from(["a.test", "b.a.test", "S\u00e3o.test", "[::1]"])), draw(_TEXTS)
    return attrs.evolve(
        ALLOWED,
        request_id=draw(some.uuids()).hex,
        client=ClientIdentity(draw(_ADDRESSES), 1, draw(some.none() | _TEXTS)),
        url=f"https://{host}/{path}",
        reason=draw(_TEXTS),
        rule_id=draw(some.none() | _TEXTS),
        verdict=draw(some.sampled_from(["allow", "deny"])),
        method=draw(some.sampled_from(["GET", "POST"])),
        status=draw(some.sampled_from([None, 200, 301, 403, 404, 502])),
        outcome=draw(some.sampled_from(["forwarded", "denied", "origin-timeout"])),
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_FILTERS = some.one_of(
    _TEXTS.filter(lambda text: any(each.isalnum() for each in text)).map(_quoted),
    some.builds("rule:{},{}".format, _TEXTS.map(_quoted), _TEXTS.map(_quoted)),
    some.builds("client:{}".format, _TEXTS.map(lambda text: _quoted(text.replace("/", "x")))),
    some.sampled_from(
        [
            "client:10.0.0.0/8",
            "client:172.16.0.0/12",
            "client:10.0.0.0/15",
            "client:10.0.0.1/32",
            "client:2001:db8::/32",
        ]
    ),
    some.builds("path:{}".format, _TEXTS.map(lambda text: _quoted(f"/{text}"))),
    some.builds(
        "path:{}".format,
        some.lists(_TEXTS, min_size=2, max_size=3).map(lambda texts: _quoted("/" + "*".join(texts) + "**")),
    ),
    some.sampled_from(["host:*.test", "host:a.test", "host:*.a.test,[::1]", "host:s\u00e3o.test", "method:post"]),
    some.sampled_from(["status:4xx", "status:200-404", "status:404,502", "verdict:deny", "verdict:allow,deny"]),
    some.sampled_from(["outcome:denied", "outcome:denied,forwarded", "stage:request", "-verdict:deny", "-items"]),
)


class IndexTests(SynchronousTestCase):
    """The index finds all records of a filter."""

    def store(self) -> SqliteStore:
        store = SqliteStore(
            Path("memory"), lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        )
        store.migrate()
        return store

    @given(some.lists(_records(), min_size=1, max_size=5), some.lists(_FILTERS, min_size=1, max_size=3))
    def test_same_records_as_without_the_index(self, records: list[ExchangeRecord], filters: list[str]) -> None:
        store = self.store()
        try:
            store.append(records)
            wanted = parse_filter(" ".join(filters), 0)
            query = compile_filter(wanted)
            expected = store.rows(
                f"SELECT request_id FROM {query.table} WHERE {query.where.text} ORDER BY id DESC",
                query.where.parameters,
            )
            for limit in (1000, None):
                found = [record["requestId"] for record in store.search(wanted, limit)]
                self.assertEqual(found, [name for (name,) in expected])
        finally:
            store.close()

    def test_queries(self) -> None:
        for text, expected in (
            ("", None),
            ("-quota -host:a.test verdict:allow since:1h", None),
            ("verdict:deny,allow", None),
            ("status:100-299", None),
            ("status:2xx", None),
            ("path:/ client:2001:db8::/32 client:10.0.0.0/7", None),
            ("path:/*", None),
            ('"quota exc"', '"quota" AND "exc" *'),
            ("host:a.test", '(("haqtest"))'),
            ("host:*.a.test", '(("a" AND "test"))'),
            ("status:4xx,502", '((("s4")) OR (("s5")))'),
            ("status:400-502", '((("s4" OR "s5")))'),
            ("path:/v1/items", '(("v1" AND "items"))'),
            ("path:/v1/us**", '(("v1" AND "us" *))'),
            ("path:/v1/*/x*y/z", '(("v1" AND "x" * AND "z"))'),
            ("client:10.1.2.3/16", '(("c10q1q" *))'),
            ("client:10.1.2.3/30", '(("c10q1q2q" *))'),
            ("method:PUT,POST id:A-1", '(("mput") OR ("mpost")) AND (("iaq1"))'),
        ):
            with self.subTest(text):
                self.assertEqual(index_query(parse_filter(text, 0)), expected)

    def test_large_filters(self) -> None:
        """The index accepts the largest filters."""
        store = self.store()
        self.addCleanup(store.close)
        store.append([ALLOWED])
        for text in ("host:" + ",".join(["a.test"] * 500), "id:" + ",".join(["x"] * 2000), "zz* " * 64, "a" * 4096):
            with self.subTest(text[:10]):
                self.assertEqual(list(store.search(parse_filter(text, 0), 1)), [])

    def test_keywords(self) -> None:
        """The values of most records have no keywords."""
        found = keywords_of(row_of(ALLOWED)).split()
        self.assertEqual(found[:4], ["hapiqexampleqcom", "c127q0q0q1", "mpost", "ritemsqwrite"])
        usual = attrs.evolve(ALLOWED, method="GET", rule_id=None, client=ClientIdentity("10.0.0.1", 1))
        self.assertEqual(keywords_of(row_of(usual)).split()[:3], ["hapiqexampleqcom", "c10q0q0q1", "iabc123"])
        self.assertTrue(keywords_of(row_of(usual)).split()[3].startswith("https://"))

    def test_no_filter(self) -> None:
        self.assertIsNone(index_query(Filter()))


class WordTests(SynchronousTestCase):
    """Words of texts."""

    def test_words(self) -> None:
        for text, expected in (
            ("S\u00e3o_Paulo/v1.5", ["sao", "paulo", "v1", "5"]),
            ("STRA\u00dfE", ["strasse"]),
            ("a\u2013b", ["a", "b"]),
            ("\u0130stanbul", ["istanbul"]),
            ("\u6771\u4eac", ["\u6771\u4eac"]),
            ("\0!", []),
        ):
            with self.subTest(text):
                self.assertEqual(words(text), expected)

    @given(some.text())
    def test_separators(self, text: str) -> None:
        """The index separates words at ASCII characters."""
        self.assertTrue(all(each.isascii() or each.isalnum() for each in folded(text)))

    def test_phrases(self) -> None:
        for wanted, expected in (
            ("quota exc", True),
            ("quot exceeded", False),
            ("exceeded quota", False),
            ("https", True),
            ("is https", False),
        ):
            with self.subTest(wanted):
                self.assertEqual(
                    has_phrases(phrase(wanted), "The quota is exceeding: quota, exceeded", None, "https:/"), expected
                )
        self.assertTrue(has_phrases("quota\nhttps", "quota", "https"))
        self.assertFalse(has_phrases("quota\nnone", "quota", "https"))
