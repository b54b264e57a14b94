"""Tests for L{egress.store.record_codec}."""

from __future__ import annotations

import ast
from http import HTTPStatus
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.grpc_result import GrpcResult
from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord
from egress.model.trace import ExchangeTrace
from egress.store.record_codec import decode_entry, decode_record, encode_policy, encode_record
from tests.observability.records import ALLOWED
from tests.untyped import untyped

RECORD = Path(__file__).parents[2] / "egress" / "model" / "record.py"


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
        # The types at run time differ between the builds.
        (found,) = (
            each
            for each in ast.walk(ast.parse(RECORD.read_text(encoding="utf-8")))
            if isinstance(each, ast.FunctionDef) and each.name == "__init__"
        )
        types = {each.arg: ast.unparse(each.annotation) for each in found.args.args if each.annotation is not None}
        self.assertEqual(list(types), [each.name for each in attrs.fields(ExchangeRecord)])
        kinds = {kind for name, kind in types.items() if name not in ("client", "trace", "grpc")}
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
        found = self.copied(reason=_Text("busy"), status=HTTPStatus.CREATED, phases=[(_Text("wait"), 1.5)])
        self.assertEqual((found.reason, type(found.reason)), ("busy", str))
        self.assertEqual((found.status, type(found.status)), (201, int))
        self.assertEqual(found.phases, (("wait", 1.5),))
        for found in untyped(self.copied, rule_id=ValueError("no text"), source=True):
            self.assertEqual((found.rule_id, found.source), ("no text", True))

    def test_policy(self) -> None:
        """An entry of the history of policies, between records."""
        use = PolicyUse(time=1.5, version="v", digest="d", source="s", author="\u00e9", texts="[]")
        self.assertEqual(decode_entry(encode_policy(use)), use)
        for record in (ALLOWED, attrs.evolve(ALLOWED, reason=_Text("busy"))):
            self.assertEqual(decode_entry(encode_record(record)), decode_record(encode_record(record)))

    def test_no_trace(self) -> None:
        trace = ExchangeTrace(None, "1" * 32, lambda: "2" * 16, sampled=True, propagates=False)
        self.assertIsNone(self.copied(trace=trace).trace)
