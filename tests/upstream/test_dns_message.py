"""Tests for L{egress.upstream.dns_message}."""

from __future__ import annotations

import itertools
from typing import Any

from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from egress.upstream.dns_message import MAX_ALIASES, Answer, Unusable, build_query, parse, read
from tests.upstream.names import asked, record, response

NAME = b"a.test"


class QueryTests(SynchronousTestCase):
    """Queries."""

    def test_query(self) -> None:
        for kind in (dns.A, dns.AAAA):
            query = build_query(b"api-.example", kind, 0xABCD)
            assert query is not None
            self.assertEqual(asked(query), ("api-.example", kind))
            self.assertEqual(query[:4], b"\xab\xcd\x01\x00", "recursion is wanted")

    def test_invalid_names(self) -> None:
        for name in (b"", b"a..b", b".a", b"a.", b"x" * 64, b"x." * 126 + b"xx"):
            self.assertIsNone(build_query(name, dns.A, 1), name)
        self.assertIsNotNone(build_query(b"x." * 126 + b"x", dns.A, 1))


class ParseTests(SynchronousTestCase):
    """The response to a query is distinguished from other messages."""

    def setUp(self) -> None:
        query = build_query(NAME, dns.A, 7)
        assert query is not None
        self.query = query

    def parse(self, data: bytes) -> Any:
        return parse(data, NAME, dns.A, 7)

    def test_response(self) -> None:
        self.assertIsNotNone(self.parse(response(self.query, [record("a.test", "192.0.2.1")])))

    def test_case_is_ignored(self) -> None:
        other = build_query(b"A.Test", dns.A, 7)
        assert other is not None
        self.assertIsNotNone(self.parse(response(other)))

    def test_other_messages(self) -> None:
        others: dict[str, bytes] = {
            "the query itself": self.query,
            "another id": response(self.query, id=8),
            "no question": response(self.query, queries=[]),
            "two questions": response(self.query, queries=[dns.Query(NAME), dns.Query(NAME)]),
            "another name": response(self.query, queries=[dns.Query(b"b.test")]),
            "another type": response(self.query, queries=[dns.Query(NAME, dns.AAAA)]),
            "another class": response(self.query, queries=[dns.Query(NAME, dns.A, dns.CH)]),
            "another operation": response(self.query, opCode=dns.OP_NOTIFY),
            "garbage": b"\x00\x07garbage",
            "nothing": b"",
            "a loop in a name": self.query[:12] + b"\xc0\x0c" + self.query[-4:],
        }
        for what, data in others.items():
            with self.subTest(what):
                self.assertIsNone(self.parse(data))


class ReadTests(SynchronousTestCase):
    """The results of responses."""

    def read(self, *records: Any, kind: int = dns.A, **changes: Any) -> Answer:
        query = build_query(NAME, kind, 7)
        assert query is not None
        message = parse(response(query, records, **changes), NAME, kind, 7)
        assert message is not None
        return read(message, NAME, kind)

    def found(self, *records: Any, **options: Any) -> list[str]:
        answer = self.read(*records, **options)
        self.assertIsNone(answer.alias)
        return list(map(str, answer.addresses))

    def test_addresses(self) -> None:
        self.assertEqual(
            self.found(record("a.test", "192.0.2.1"), record("A.TEST", "192.0.2.2"), record("a.test", "192.0.2.1")),
            ["192.0.2.1", "192.0.2.2"],
        )
        self.assertEqual(self.found(record("a.test", "2001:db8::1"), kind=dns.AAAA), ["2001:db8::1"])

    def test_no_addresses(self) -> None:
        self.assertEqual(self.found(), [])
        self.assertEqual(self.found(rCode=dns.ENAME), [])

    def test_addresses_of_other_names_are_ignored(self) -> None:
        self.assertEqual(self.found(record("b.test", "192.0.2.1"), record("a.test", "2001:db8::1")), [])

    def test_addresses_of_another_class_are_ignored(self) -> None:
        other = dns.RRHeader(NAME, dns.A, dns.CH, payload=dns.Record_A("192.0.2.1"))
        self.assertEqual(self.found(other), [])

    def test_aliases(self) -> None:
        """Their order and case do not matter."""
        chain = (record("c.test", "192.0.2.3"), record("B.test", "-> c.test"), record("a.test", "-> b.test"))
        self.assertEqual(self.found(*chain), ["192.0.2.3"])

    def test_alias_loop(self) -> None:
        chain = (record("a.test", "-> b.test"), record("b.test", "-> a.test"))
        self.assertRaises(Unusable, self.read, *chain)

    def test_long_alias_chain(self) -> None:
        names = ["a.test", *(f"n{number}.test" for number in range(MAX_ALIASES))]
        chain = [record(name, f"-> {to}") for name, to in itertools.pairwise(names)]
        self.assertRaises(Unusable, self.read, *chain)

    def test_alias_without_addresses(self) -> None:
        """A recursive server has followed the alias; other servers leave that to the client."""
        alias = record("a.test", "-> b.test")
        self.assertEqual(self.read(alias), Answer())
        self.assertEqual(self.read(alias, recAv=0), Answer((), b"b.test"))
        self.assertEqual(self.read(alias, recAv=0, rCode=dns.ENAME), Answer())
        self.assertEqual(self.read(recAv=0), Answer())

    def test_error_responses(self) -> None:
        for code, word in ((1, "FORMERR"), (2, "SERVFAIL"), (4, "NOTIMP"), (5, "REFUSED"), (9, "code 9")):
            error = self.assertRaises(Unusable, self.read, record("a.test", "192.0.2.1"), rCode=code)
            self.assertEqual(str(error), word)
