"""Tests for L{egress.http.hop_by_hop}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.hop_by_hop import (
    HOP_BY_HOP,
    MAX_OPTIONS,
    NO_TRAILERS,
    accepts_trailers,
    connection_options,
    encode_fields,
    end_to_end,
    tokens,
    trailer_fields,
    with_via,
)


class HeadersTests(SynchronousTestCase):
    """The changes that a proxy makes to fields."""

    def test_tokens(self) -> None:
        for value, expected in (
            (b"", []),
            (b"close", [b"close"]),
            (b" Keep-Alive ,\tX-Mine,, ", [b"keep-alive", b"x-mine"]),
        ):
            with self.subTest(value=value):
                self.assertEqual(tokens(value), expected)

    def test_connection_options(self) -> None:
        self.assertEqual(connection_options(b"Close,, X-One,close"), frozenset({b"close", b"x-one"}))
        most = b",".join([b"a"] * MAX_OPTIONS)
        self.assertEqual(connection_options(most), frozenset({b"a"}))
        for value in (most + b",a", b"," * MAX_OPTIONS):
            self.assertRaises(ValueError, connection_options, value)

    def test_trailers_in_te(self) -> None:
        for value in (b"trailers", b"Trailers ", b"gzip;q=0.5,\ttrailers", b",trailers,deflate"):
            self.assertTrue(accepts_trailers(value), value)
        for value in (b"", b"x-trailers", b"trailers;q=1", b"trailersx", b"trail ers"):
            self.assertFalse(accepts_trailers(value), value)

    def test_hop_by_hop_fields_are_removed(self) -> None:
        for name in HOP_BY_HOP:
            with self.subTest(name=name):
                self.assertEqual(end_to_end(((name.title(), b"x"), (b"Accept", b"y"))), [(b"Accept", b"y")])

    def test_fields_listed_in_connection_are_removed(self) -> None:
        headers = ((b"X-Mine", b"1"), (b"x-mine", b"2"), (b"X-Yours", b"3"))
        self.assertEqual(end_to_end(headers, frozenset({b"x-mine"})), [(b"X-Yours", b"3")])

    def test_forbidden_trailers(self) -> None:
        for name in NO_TRAILERS:
            with self.subTest(name=name):
                self.assertEqual(
                    trailer_fields(((name.title(), b"x"), (b"Server-Timing", b"y"))), ((b"Server-Timing", b"y"),)
                )
        for name in (b"content-length", b"host", b"transfer-encoding", b"authorization", b"cookie", b"connection"):
            with self.subTest(name=name):
                self.assertIn(name, NO_TRAILERS)

    def test_forbidden_trailers_in_another_spelling(self) -> None:
        for name in (b"Content_Length", b"transfer_encoding", b"Set_Cookie"):
            with self.subTest(name=name):
                self.assertEqual(trailer_fields(((name, b"x"), (b"X_Sum", b"y"))), ((b"X_Sum", b"y"),))

    def test_via(self) -> None:
        self.assertEqual(with_via([], b"1.1"), [(b"Via", b"1.1 egressproxy")])
        self.assertEqual(with_via([(b"Via", b"1.1 a")], b"1.0"), [(b"Via", b"1.1 a"), (b"Via", b"1.0 egressproxy")])

    def test_encode(self) -> None:
        self.assertEqual(encode_fields([(b"A", b"1"), (b"B", b"")]), b"A: 1\r\nB: \r\n")
