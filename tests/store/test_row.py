"""Tests for L{egress.store.row}."""

from __future__ import annotations

import json

import attrs
from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from egress.model.grpc_result import GrpcResult
from egress.model.log_numbers import written_time
from egress.observability.audit_log import audit_line
from egress.store.row import INSERTED, SELECTED, document_of, host_and_path, row_of
from tests.observability.records import ALLOWED, REFUSED


class RowTests(SynchronousTestCase):
    """A row has the fields of an audit line."""

    def test_same_fields_as_the_audit_log(self) -> None:
        headers = attrs.evolve(ALLOWED, request_headers=(("Accept", "\u20ac"),), response_headers=())
        times = (1_700_000_000.9999996, 1_727_322_286.6659994)
        calls = (GrpcResult("a.B", "C", "OK"), GrpcResult("a.B", "C", None))
        with_calls = (attrs.evolve(ALLOWED, grpc=call) for call in calls)
        for record in (ALLOWED, REFUSED, headers, *with_calls, *(attrs.evolve(ALLOWED, time=time) for time in times)):
            with self.subTest(record):
                row = dict(zip(INSERTED, row_of(record), strict=True))
                document = document_of([row[name] for name in SELECTED])
                self.assertEqual(list(document.items()), list(json.loads(audit_line(record)).items()))

    @given(some.floats(1_600_000_000, 2_600_000_000))
    def test_same_time_as_the_audit_log(self, seconds: float) -> None:
        row = row_of(attrs.evolve(ALLOWED, time=seconds))
        self.assertEqual(written_time(row[0] / 1000), written_time(seconds))

    def test_lone_surrogates(self) -> None:
        row = dict(zip(INSERTED, row_of(attrs.evolve(ALLOWED, reason="a\udcff")), strict=True))
        self.assertEqual(row["reason"], "a\\udcff")

    def test_host_and_path(self) -> None:
        for url, expected in (
            ("https://API.example.:8443/v1/x?y=/z#f", ("api.example", "/v1/x")),
            ("https://REDACTED@a.test/", ("a.test", "/")),
            ("http://[2001:db8::1]:80/x", ("2001:db8::1", "/x")),
            ("a.test:443", ("a.test", "")),
            ("[::1]:443", ("::1", "")),
            ("/only", ("", "/only")),
            ("", ("", "")),
        ):
            with self.subTest(url):
                self.assertEqual(host_and_path(url), expected)
