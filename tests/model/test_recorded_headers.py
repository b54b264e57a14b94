"""Tests for L{egress.model.recorded_headers}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.recorded_headers import MAX_CHARACTERS, MAX_FIELDS, AuditHeaders, recorded_headers


class RecordedHeadersTests(SynchronousTestCase):
    """Header fields are redacted, and limited in number and size."""

    def test_redacted(self) -> None:
        fields = ((b"Host", b"a.test"), (b"Cookie", b"a=b"), (b"X", b"a\x1b\xff"), (b"Location", b"/?code=x"))
        self.assertEqual(
            recorded_headers(fields),
            (("Host", "a.test"), ("Cookie", "REDACTED"), ("X", "a\ufffd\ufffd"), ("Location", "REDACTED")),
        )

    def test_none(self) -> None:
        self.assertIsNone(recorded_headers(()))

    def test_number(self) -> None:
        found = recorded_headers(((b"A", b"b"),) * (MAX_FIELDS + 3)) or ()
        self.assertEqual((len(found), found[-1]), (MAX_FIELDS + 1, ("", "3 more fields")))
        self.assertEqual(recorded_headers(((b"A", b"b"),) * MAX_FIELDS), (("A", "b"),) * MAX_FIELDS)

    def test_recorded_requests(self) -> None:
        """Of which requests the fields are recorded."""
        for headers, expected in (
            (AuditHeaders.NONE, (False, False, False)),
            (AuditHeaders.DENIED, (False, True, True)),
            (AuditHeaders.ALL, (True, True, True)),
        ):
            with self.subTest(headers):
                found = (headers.cover("allow"), headers.cover("deny"), headers.cover("allow", "deny"))
                self.assertEqual(found, expected)

    def test_size(self) -> None:
        found = recorded_headers(((b"A", b"b" * 10_000),) * 20) or ()
        *recorded, last = found
        self.assertEqual(last, ("", f"{20 - len(recorded)} more fields"))
        size = sum(len(name) + len(value) for name, value in recorded)
        self.assertLessEqual(size, MAX_CHARACTERS)
        self.assertGreater(size + 504, MAX_CHARACTERS)
