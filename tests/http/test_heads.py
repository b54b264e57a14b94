"""Tests for L{egress.http.heads}."""

from __future__ import annotations

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import DELIMITED, HTTP_1_1, NO_BODY, UNTIL_CLOSE, BodyKind, Framing
from egress.http.heads import REQUEST_FIELDS, RESPONSE_FIELDS, HeadLimits, parse_request_head, parse_response_head
from egress.model.errors import (
    BadRequest,
    ClientError,
    HeadTooLarge,
    OriginProtocolError,
    TargetTooLong,
    UnsupportedRequest,
    VersionNotSupported,
)

LIMITS = HeadLimits(head=1000, fields=10, target=50)
HOST = b"Host: a\r\n"


# A compiled module has no source of its own.
SOURCE = Path(__file__).parents[2] / "egress/http/heads.py"


def request(line: bytes = b"GET / HTTP/1.1", fields: bytes = HOST) -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


REFUSED: dict[str, tuple[bytes, type[ClientError]]] = {
    "HTTP/0.9": (request(b"GET /"), BadRequest),
    "two spaces": (request(b"GET  / HTTP/1.1"), BadRequest),
    "space in the target": (request(b"GET /a b HTTP/1.1"), BadRequest),
    "tab": (request(b"GET\t/ HTTP/1.1"), BadRequest),
    "space at the end": (request(b"GET / HTTP/1.1 "), BadRequest),
    "control character in the target": (request(b"GET /\x01 HTTP/1.1"), BadRequest),
    "carriage return in the target": (request(b"GET /\rx HTTP/1.1"), BadRequest),
    "no method": (request(b" / HTTP/1.1"), BadRequest),
    "method that is no token": (request(b"G(T / HTTP/1.1"), BadRequest),
    "method too long": (request(b"G" * 65 + b" / HTTP/1.1"), BadRequest),
    "lower-case version": (request(b"GET / http/1.1"), BadRequest),
    "HTTP/2": (request(b"PRI * HTTP/2.0"), VersionNotSupported),
    "target too long": (request(b"GET /" + b"a" * 50 + b" HTTP/1.1"), TargetTooLong),
    "no Host": (request(fields=b"A: b\r\n"), BadRequest),
    "no Host in a method like CONNECT": (request(b"connect a:443 HTTP/1.1", b""), BadRequest),
    "credentials in Host": (request(fields=b"Host: user:secret@a\r\n"), BadRequest),
    "two Hosts in a CONNECT": (request(b"CONNECT a:443 HTTP/1.1", HOST * 2), BadRequest),
    "two Hosts": (request(fields=HOST * 2), BadRequest),
    "Transfer-Encoding in HTTP/1.0": (request(b"POST / HTTP/1.0", b"Transfer-Encoding: chunked\r\n"), BadRequest),
    "gzip, chunked": (request(fields=HOST + b"Transfer-Encoding: gzip, chunked\r\n"), UnsupportedRequest),
    "length that may be octal": (request(fields=HOST + b"Content-Length: 010\r\n"), BadRequest),
    "empty transfer coding": (request(fields=HOST + b"Transfer-Encoding:\r\n"), BadRequest),
    "length of zeros": (request(fields=HOST + b"Content-Length: 00\r\n"), BadRequest),
    "length with an underscore in its name": (request(fields=HOST + b"Content_Length: 3\r\n"), BadRequest),
    "coding with an underscore in its name": (request(fields=HOST + b"Transfer_Encoding: chunked\r\n"), BadRequest),
    "comma before chunked": (request(fields=HOST + b"Transfer-Encoding: , chunked\r\n"), UnsupportedRequest),
    "TRACE": (request(b"TRACE / HTTP/1.1"), UnsupportedRequest),
    "trace": (request(b"trace / HTTP/1.1"), UnsupportedRequest),
    "length out of range": (request(fields=HOST + b"Content-Length: 9223372036854775808\r\n"), BadRequest),
    "length beyond 64 bits": (request(fields=HOST + b"Content-Length: 99999999999999999999\r\n"), BadRequest),
    "length and chunked": (
        request(fields=HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
        BadRequest,
    ),
    "chunked and length": (
        request(fields=HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n"),
        BadRequest,
    ),
    "two equal lengths": (request(fields=HOST + b"Content-Length: 3\r\n" * 2), BadRequest),
    "list of lengths": (request(fields=HOST + b"Content-Length: 3, 3\r\n"), BadRequest),
    "Host in a folded line": (request(fields=b"A: b\r\n Host: a\r\n"), BadRequest),
    "bare line feed before Host": (request(fields=b"A: b\nHost: a\r\n"), BadRequest),
    "bare carriage return": (request(fields=HOST + b"A: b\rC: d\r\n"), BadRequest),
    "null": (request(fields=HOST + b"A: \x00\r\n"), BadRequest),
    "folded line": (request(fields=HOST + b"A: b\r\n c\r\n"), BadRequest),
    "too many fields": (request(fields=HOST + b"A: b\r\n" * 10), HeadTooLarge),
    "CONNECT with content": (request(b"CONNECT a:1 HTTP/1.1", HOST + b"Content-Length: 3\r\n"), BadRequest),
    "CONNECT with chunks": (
        request(b"CONNECT a:1 HTTP/1.1", HOST + b"Transfer-Encoding: chunked\r\n"),
        BadRequest,
    ),
}


class RequestHeadTests(SynchronousTestCase):
    """Each request head has one interpretation, or is rejected."""

    def test_rejected(self) -> None:
        for name, (head, error) in REFUSED.items():
            with self.subTest(name):
                self.assertIs(type(self.assertRaises(ClientError, parse_request_head, head, LIMITS)), error)

    def test_components(self) -> None:
        fields = (
            b"Host: a:81\r\nProxy-Authorization: Basic eA==\r\nAccept: text/plain\r\naccept: */*\r\n"
            b"Connection: X-One\r\nProxy-Connection: keep-alive, X-Two\r\n"
        )
        head = parse_request_head(request(b"FROB /a?b HTTP/1.1", fields), LIMITS)
        self.assertEqual((head.method, head.target, head.version), ("FROB", b"/a?b", HTTP_1_1))
        self.assertEqual(head.host, b"a:81")
        self.assertEqual(head.proxy_authorization, b"Basic eA==")
        self.assertEqual(head.accept, b"text/plain,*/*")
        self.assertEqual(head.connection_options, {b"x-one", b"x-two", b"keep-alive"})
        self.assertEqual(len(head.headers), 6)

    def test_framing(self) -> None:
        for fields, expected in (
            (b"", NO_BODY),
            (b"Content-Length: 0\r\n", NO_BODY),
            (b"Content-Length: 10 \r\n", Framing(BodyKind.LENGTH, 10)),
            (b"Content-Length: 9223372036854775807\r\n", Framing(BodyKind.LENGTH, 2**63 - 1)),
            (b"Content-Length: 12\r\n", Framing(BodyKind.LENGTH, 12)),
            (b"Transfer-Encoding: chunked\r\n", DELIMITED),
            (b"Transfer-Encoding: Chunked\r\n", DELIMITED),
        ):
            with self.subTest(fields=fields):
                self.assertEqual(parse_request_head(request(fields=HOST + fields), LIMITS).framing, expected)

    def test_keep_alive(self) -> None:
        for version, connection, expected in (
            (b"1.1", b"", True),
            (b"1.1", b"Connection: close\r\n", False),
            (b"1.1", b"Connection: Keep-Alive, Close\r\n", False),
            (b"1.0", b"", False),
            (b"1.0", b"Connection: keep-alive\r\n", True),
            (b"1.0", b"Proxy-Connection: Keep-Alive\r\n", True),
        ):
            with self.subTest(version=version, connection=connection):
                head = parse_request_head(request(b"GET / HTTP/" + version, HOST + connection), LIMITS)
                self.assertEqual((head.keep_alive, head.version), (expected, version))

    def test_repeated_host(self) -> None:
        """The parser does not check whether the value is a valid host; the comparison with the authority does."""
        for value in (b"", b"a, b", b"\xc3\xa4.example"):
            with self.subTest(value=value):
                fields = b"Host: " + value + b"\r\n"
                self.assertEqual(parse_request_head(request(fields=fields), LIMITS).host, value)

    def test_connect_needs_no_host(self) -> None:
        for version in (b"1.0", b"1.1"):
            head = parse_request_head(request(b"CONNECT a:443 HTTP/" + version, b""), LIMITS)
            self.assertEqual((head.host, head.target), (None, b"a:443"))

    def test_http_1_0_needs_no_host(self) -> None:
        self.assertIsNone(parse_request_head(request(b"GET / HTTP/1.0", b""), LIMITS).host)

    def test_repeated_credentials(self) -> None:
        field = b"Proxy-Authorization: Basic eA==\r\n"
        error = self.assertRaises(BadRequest, parse_request_head, request(fields=HOST + field + field.lower()), LIMITS)
        self.assertIn("more than one Proxy-Authorization", error.reason)

    def test_upgrade_must_be_listed_in_connection(self) -> None:
        upgrade = b"Upgrade: websocket\r\n"
        for line, fields, expected in (
            (b"GET / HTTP/1.1", HOST + upgrade + b"Connection: Upgrade\r\n", b"websocket"),
            (b"GET / HTTP/1.1", HOST + upgrade + b"Connection: Upgrade\r\nupgrade: tcp\r\n", b"websocket,tcp"),
            (b"GET / HTTP/1.1", HOST + upgrade, None),
            (b"GET / HTTP/1.0", HOST + upgrade + b"Connection: Upgrade\r\n", None),
        ):
            with self.subTest(line=line, fields=fields):
                self.assertEqual(parse_request_head(request(line, fields), LIMITS).upgrade, expected)

    def test_too_many_connection_options(self) -> None:
        fields = b"Connection: a" + b",a" * 200 + b"\r\n"
        self.assertEqual(parse_request_head(request(fields=HOST + fields), LIMITS).connection_options, {b"a"})
        with self.assertRaisesRegex(BadRequest, "Connection lists more than 256 names"):
            parse_request_head(request(fields=HOST + fields * 2), LIMITS)
        self.assertEqual(parse_response_head(response(fields=fields), LIMITS, "GET").connection_options, {b"a"})
        self.assertRaises(OriginProtocolError, parse_response_head, response(fields=fields * 2), LIMITS, "GET")

    def test_expectation(self) -> None:
        content = b"Content-Length: 3\r\n"
        for line, fields, expected in (
            (b"POST / HTTP/1.1", content + b"Expect: 100-Continue\r\n", True),
            (b"POST / HTTP/1.1", content, False),
            (b"POST / HTTP/1.1", b"Expect: 100-continue\r\n", False),
            (b"POST / HTTP/1.0", content + b"Expect: 100-continue\r\n", False),
            (b"POST / HTTP/1.1", content + b"Expect: other\r\n", False),
        ):
            with self.subTest(line=line, fields=fields):
                self.assertEqual(parse_request_head(request(line, HOST + fields), LIMITS).expects_continue, expected)


def response(line: bytes = b"HTTP/1.1 200 OK", fields: bytes = b"") -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


class ResponseHeadTests(SynchronousTestCase):
    """Each response head has one interpretation, or is rejected."""

    def test_rejected(self) -> None:
        for name, head in (
            ("another version", response(b"HTTP/2 200 OK")),
            ("no status", response(b"HTTP/1.1 OK")),
            ("status of two digits", response(b"HTTP/1.1 99 x")),
            ("status below 100", response(b"HTTP/1.1 099 x")),
            ("control character in the reason", response(b"HTTP/1.1 200 O\x01K")),
            ("length and chunked", response(fields=b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")),
            ("gzip, chunked", response(fields=b"Transfer-Encoding: gzip, chunked\r\n")),
            ("chunked in HTTP/1.0", response(b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked\r\n")),
            ("length out of range", response(fields=b"Content-Length: 9223372036854775808\r\n")),
            ("chunked and length", response(fields=b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n")),
            ("chunked twice", response(fields=b"Transfer-Encoding: chunked\r\n" * 2)),
            ("chunked, chunked", response(fields=b"Transfer-Encoding: chunked, chunked\r\n")),
            ("no coding, then chunked", response(fields=b"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n")),
            ("gzip, then chunked", response(fields=b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n")),
            ("chunked with a parameter", response(fields=b"Transfer-Encoding: chunked;a=b\r\n")),
            ("identity", response(fields=b"Transfer-Encoding: identity\r\n")),
            ("two equal lengths", response(fields=b"Content-Length: 3\r\n" * 2)),
            ("length of many zeros", response(fields=b"Content-Length: " + b"0" * 900 + b"3\r\n")),
            ("bare line feed", response(fields=b"A: b\nC: d\r\n")),
            ("null", response(fields=b"A: \x00\r\n")),
            ("folded line", response(fields=b"A: b\r\n c\r\n")),
            ("too many fields", response(fields=b"A: b\r\n" * 11)),
            ("too large", response(fields=b"A: " + b"b" * 1000 + b"\r\n")),
        ):
            with self.subTest(name):
                self.assertRaises(OriginProtocolError, parse_response_head, head, LIMITS, "GET")

    def test_components(self) -> None:
        head = parse_response_head(response(b"HTTP/1.1 404 Not \xfcber", b"Connection: X-One\r\n"), LIMITS, "GET")
        self.assertEqual((head.status, head.reason, head.version), (404, b"Not \xfcber", HTTP_1_1))
        self.assertEqual(head.connection_options, {b"x-one"})
        self.assertEqual(parse_response_head(response(b"HTTP/1.1 200"), LIMITS, "GET").reason, b"")

    def test_framing(self) -> None:
        length = b"Content-Length: 3\r\n"
        for name, status, fields, method, expected in (
            ("length", b"200", length, "GET", Framing(BodyKind.LENGTH, 3)),
            ("length 0", b"200", b"Content-Length: 0\r\n", "GET", Framing(BodyKind.LENGTH, 0)),
            ("length with zeros before it", b"200", b"Content-Length: 003\r\n", "GET", Framing(BodyKind.LENGTH, 3)),
            ("chunked", b"200", b"Transfer-Encoding: chunked\r\n", "GET", DELIMITED),
            ("HEAD, chunked", b"200", b"Transfer-Encoding: chunked\r\n", "HEAD", NO_BODY),
            ("204 with a length", b"204", length, "GET", NO_BODY),
            ("304, chunked", b"304", b"Transfer-Encoding: chunked\r\n", "GET", NO_BODY),
            ("neither", b"200", b"", "GET", UNTIL_CLOSE),
            ("HEAD", b"200", length, "HEAD", NO_BODY),
            ("204", b"204", b"", "GET", NO_BODY),
            ("304", b"304", length, "GET", NO_BODY),
            ("interim", b"103", b"", "GET", NO_BODY),
        ):
            with self.subTest(name):
                head = parse_response_head(response(b"HTTP/1.1 " + status + b" x", fields), LIMITS, method)
                self.assertEqual(head.framing, expected)

    def test_a_length_or_a_coding_with_an_underscore_in_its_name(self) -> None:
        for fields in (b"Content_Length: 3\r\n", b"transfer_encoding: chunked\r\nContent-Length: 3\r\n"):
            with self.subTest(fields):
                self.assertRaises(OriginProtocolError, parse_response_head, response(fields=fields), LIMITS, "GET")

    def test_leading_zeros_are_removed_from_a_length(self) -> None:
        """Some clients would read it as octal."""
        for method in ("GET", "HEAD"):
            fields = b"A: b\r\ncontent-length: 010\r\nC: 010\r\n"
            head = parse_response_head(response(b"HTTP/1.1 200 OK", fields), LIMITS, method)
            self.assertEqual(head.headers, ((b"A", b"b"), (b"content-length", b"10"), (b"C", b"010")))

    def test_keep_alive(self) -> None:
        length = b"Content-Length: 3\r\n"
        for version, fields, expected in (
            (b"1.1", length, True),
            (b"1.1", length + b"Connection: close\r\n", False),
            (b"1.1", b"", False),
            (b"1.0", length, False),
            (b"1.0", length + b"Connection: keep-alive\r\n", True),
        ):
            with self.subTest(version=version, fields=fields):
                head = parse_response_head(response(b"HTTP/" + version + b" 200 OK", fields), LIMITS, "GET")
                self.assertEqual(head.keep_alive, expected)

    def test_numbers_of_any_length_are_rejected(self) -> None:
        limits = HeadLimits(head=100_000, fields=10, target=50)
        fields = b"Content-Length: " + b"0" * 50_000 + b"3\r\n"
        self.assertRaises(BadRequest, parse_request_head, request(fields=HOST + fields), limits)
        self.assertRaises(OriginProtocolError, parse_response_head, response(fields=fields), limits, "GET")


class FieldsTests(SynchronousTestCase):
    """The evaluated fields are named twice: in a set, and in the code that reads them."""

    def named(self, function: str) -> set[bytes]:
        (found,) = [
            node
            for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef) and node.name == function
        ]
        patterns = [case.pattern for node in ast.walk(found) if isinstance(node, ast.Match) for case in node.cases]
        values = [node.value for pattern in patterns for node in ast.walk(pattern) if isinstance(node, ast.MatchValue)]
        return {value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, bytes)}

    def test_request(self) -> None:
        self.assertEqual(self.named("request_head"), REQUEST_FIELDS)

    def test_response(self) -> None:
        self.assertEqual(self.named("_response_head"), RESPONSE_FIELDS)
