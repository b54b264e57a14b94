"""Tests for L{egress.store.postgresql_row}."""

from __future__ import annotations

import json

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import ClientIdentity
from egress.store.postgresql_row import encode_row, storable
from egress.store.postgresql_schema import ENCODED
from egress.store.row import row_of
from tests.observability.records import ALLOWED, REFUSED


class EncodeTests(SynchronousTestCase):
    """A row is one line of JSON."""

    def test_columns(self) -> None:
        line = encode_row(ALLOWED)
        self.assertTrue(line.isascii())
        self.assertEqual(line.find(b"\n"), len(line) - 1)
        self.assertNotIn(b"hunter2", line)
        row = json.loads(line)
        values = (*row_of(ALLOWED), row["client_inet"], row["words"])
        # A column that is NULL is left out.
        expected = {name: value for name, value in zip(ENCODED, values, strict=True) if value is not None}
        self.assertEqual(row, expected)
        found = (row["request_id"], row["time_ms"], row["host"])
        self.assertEqual(found, ("abc123", 1_700_000_000_250, "api.example.com"))
        self.assertIn("items:4", row["words"])
        self.assertEqual(row["client_inet"], "127.0.0.1")

    def test_addresses(self) -> None:
        for address, expected in (("2001:db8::7", "2001:db8::7"), ("fe80::1%eth0", "fe80::1"), ("unix-uid-0", None)):
            with self.subTest(address):
                record = attrs.evolve(REFUSED, client=ClientIdentity(address, 0))
                self.assertEqual(json.loads(encode_row(record)).get("client_inet"), expected)

    def test_forbidden_character(self) -> None:
        self.assertNotIn(b"\\u0000", encode_row(attrs.evolve(ALLOWED, reason="a\0b")))
        self.assertEqual((storable("a\0b"), storable(None), storable(5)), ("a\ufffdb", None, 5))
