"""Tests for L{egress.store.record_codec}."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.grpc_result import GrpcResult
from egress.model.record import ExchangeRecord
from egress.store.record_codec import decode_record, encode_record
from tests.observability.records import ALLOWED


class _Text(str):
    """A text of an application."""

    def __str__(self) -> str:
        raise AssertionError("called")


class CodecTests(SynchronousTestCase):
    """A record remains the same."""

    def copied(self, **fields: Any) -> ExchangeRecord:
        return decode_record(encode_record(attrs.evolve(ALLOWED, **fields)))

    def test_all_fields(self) -> None:
        """Every field has another value than in the other record."""
        headers = (("accept", "*/*"), ("", "3 more fields"))
        grpc = GrpcResult("a.B", "C", "NOT_FOUND")
        for record in (
            ALLOWED,
            attrs.evolve(ALLOWED, request_headers=headers, response_headers=headers),
            attrs.evolve(ALLOWED, grpc=grpc),
        ):
            self.assertEqual(decode_record(encode_record(record)), record)

    def test_types(self) -> None:
        """C{marshal} has no objects: a field with another type needs code of its own."""
        kinds = {
            str(each.type) for each in attrs.fields(ExchangeRecord) if each.name not in ("client", "trace", "grpc")
        }
        known = {"float", "str", "int", "str | None", "float | None", "int | None", "RecordedHeaders | None"}
        self.assertLessEqual(kinds, known | {"Sequence[Mark]"})

    def test_other_values(self) -> None:
        """Such as lone surrogates of an invalid URL, and integers that no database can contain."""
        for fields in (
            {"url": "http://a.test/\udcff\x00é€"},
            {"bytes_received": 1 << 80, "status": None, "identity": None},
            {"duration": -0.0, "phases": ()},
        ):
            with self.subTest(fields):
                fields.pop("identity", None)
                self.assertEqual(self.copied(**fields), attrs.evolve(ALLOWED, **fields))

    def test_types_of_an_application(self) -> None:
        """Values become plain, also in collections; a value of an unknown type becomes a text."""
        found = self.copied(
            reason=_Text("busy"),
            status=HTTPStatus.CREATED,
            rule_id=ValueError("no text"),
            source=True,
            phases=[(_Text("wait"), 1.5)],
        )
        self.assertEqual((found.reason, type(found.reason)), ("busy", str))
        self.assertEqual((found.status, type(found.status)), (201, int))
        self.assertEqual((found.rule_id, found.source, found.phases), ("no text", True, (("wait", 1.5),)))

    def test_no_trace(self) -> None:
        trace: Any = object()
        self.assertIsNone(self.copied(trace=trace).trace)
