"""Tests for L{egress.http2.client_fields}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.error_response import ErrorResponse
from egress.http.events import DELIMITED, HTTP_2, NO_BODY, BodyKind, Framing, ResponseHead
from egress.http.heads import HeadLimits
from egress.http2.client_fields import (
    ClientRequest,
    MalformedMessage,
    error_fields,
    interim_fields,
    lower_case,
    parse_request,
    parse_trailers,
    response_fields,
    switch_fields,
    websocket_head,
    websocket_key,
)
from egress.model.decision import Header
from egress.model.errors import BadRequest, HeadTooLarge, TargetTooLong, UnsupportedRequest

LIMITS = HeadLimits(head=1000, fields=10, target=100)
GET: list[Header] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"origin.test"),
    (b":path", b"/a?b"),
]
POST: list[Header] = [(b":method", b"POST"), *GET[1:]]


def parse(*fields: Header, pseudo: list[Header] = GET, ended: bool = True) -> ClientRequest:
    """Parse a request."""
    return parse_request([*pseudo, *fields], LIMITS, ended=ended)


def replaced(name: bytes, value: bytes | None) -> list[Header]:
    """The pseudo-header fields of a request with another value, or without one of them."""
    fields = [field for field in GET if field[0] != name]
    return fields if value is None else [*fields, (name, value)]


class RequestTests(SynchronousTestCase):
    """Requests as the rest of the proxy knows them."""

    def test_a_request(self) -> None:
        request = parse((b"x-one", b"1"), (b"accept", b"text/html"), (b"proxy-authorization", b"Basic eDp5"))
        head = request.head
        self.assertEqual((request.scheme, request.protocol), (b"https", None))
        self.assertEqual((head.method, head.target, head.version, head.host), ("GET", b"/a?b", HTTP_2, b"origin.test"))
        self.assertEqual(head.headers[:2], ((b"host", b"origin.test"), (b"x-one", b"1")))
        self.assertEqual((head.framing, head.keep_alive, head.upgrade), (NO_BODY, True, None))
        self.assertEqual((head.accept, head.proxy_authorization), (b"text/html", b"Basic eDp5"))

    def test_framing(self) -> None:
        for fields, ended, framing in (
            ([], True, NO_BODY),
            ([], False, DELIMITED),
            ([(b"content-length", b"7")], False, Framing(BodyKind.LENGTH, 7)),
            ([(b"content-length", b"0")], False, NO_BODY),
            ([(b"content-length", b"0")], True, NO_BODY),
        ):
            with self.subTest((fields, ended)):
                self.assertEqual(parse(*fields, pseudo=POST, ended=ended).head.framing, framing)

    def test_an_expectation(self) -> None:
        expect = (b"expect", b"100-continue")
        self.assertTrue(parse(expect, pseudo=POST, ended=False).head.expects_continue)
        self.assertTrue(parse(expect, (b"content-length", b"1"), pseudo=POST, ended=False).head.expects_continue)
        self.assertFalse(parse(expect, ended=True).head.expects_continue)

    def test_trailers_are_accepted(self) -> None:
        self.assertEqual(parse((b"te", b"trailers")).head.connection_options, frozenset({b"te"}))
        self.assertEqual(parse().head.connection_options, frozenset())

    def test_cookies_are_joined(self) -> None:
        head = parse((b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")).head
        self.assertEqual(head.headers[1:], ((b"x", b"y"), (b"cookie", b"a=1; b=2")))
        self.assertEqual(parse((b"cookie", b"a=1"), (b"x", b"y")).head.headers[1], (b"cookie", b"a=1"))
        empty = parse((b"cookie", b""), (b"cookie", b"a=1"), (b"cookie", b"")).head
        self.assertEqual(empty.headers[1:], ((b"cookie", b"; a=1;"),))

    def test_host(self) -> None:
        self.assertEqual(parse((b"host", b"Origin.test")).head.host, b"origin.test")
        only_host = replaced(b":authority", None)
        self.assertEqual(parse((b"host", b"other.test"), pseudo=only_host).head.host, b"other.test")
        for fields, pseudo in (
            ([], only_host),
            ([(b"host", b"other.test")], GET),
            ([(b"host", b"origin.test")] * 2, GET),
            ([(b"host", b"origin.test")] * 2, only_host),
            ([], replaced(b":authority", b"user@origin.test")),
        ):
            with self.subTest((fields, pseudo)):
                self.assertRaises(BadRequest, parse, *fields, pseudo=pseudo)

    def test_forms_of_targets(self) -> None:
        options: list[Header] = [(b":method", b"OPTIONS"), *GET[1:3], (b":path", b"*")]
        self.assertEqual(parse(pseudo=options).head.target, b"*")
        connect: list[Header] = [(b":method", b"CONNECT"), (b":authority", b"origin.test:443")]
        request = parse(pseudo=connect, ended=False)
        self.assertEqual((request.head.target, request.scheme), (b"origin.test:443", b""))
        self.assertEqual(request.head.framing, NO_BODY)
        extended: list[Header] = [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")]
        request = parse(pseudo=extended, ended=False)
        self.assertEqual((request.head.target, request.protocol), (b"/a?b", b"websocket"))

    def test_limits(self) -> None:
        self.assertRaises(TargetTooLong, parse, pseudo=replaced(b":path", b"/" + b"a" * 100))
        self.assertRaises(HeadTooLarge, parse, (b"x", b"a" * 1000))
        self.assertRaises(HeadTooLarge, parse, *[(b"x", b"y")] * 11)

    def test_trace(self) -> None:
        self.assertRaises(UnsupportedRequest, parse, pseudo=[(b":method", b"TRACE"), *GET[1:]])


class WebSocketTests(SynchronousTestCase):
    """Extended CONNECT (RFC 8441)."""

    def test_a_request(self) -> None:
        extended: list[Header] = [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")]
        fields = ((b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"theirs"))
        head = websocket_head(parse(*fields, pseudo=extended, ended=False).head, b"ours")
        self.assertEqual(
            (head.method, head.target, head.upgrade, head.framing), ("GET", b"/a?b", b"websocket", NO_BODY)
        )
        self.assertIn(b"upgrade", head.connection_options)
        self.assertEqual([value for name, value in head.headers if name == b"sec-websocket-key"], [b"ours"])

    def test_a_response(self) -> None:
        fields = (
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", b"x"),
            (b"Sec-WebSocket-Protocol", b"chat"),
        )
        head = ResponseHead(101, b"", b"1.1", fields, NO_BODY, True, frozenset({b"upgrade"}))
        self.assertEqual(
            switch_fields(head),
            [(b":status", b"200"), (b"sec-websocket-protocol", b"chat"), (b"via", b"1.1 egressproxy")],
        )

    def test_a_client_that_checks_its_key(self) -> None:
        """The key and the response are the ones of RFC 6455 section 1.3."""
        extended: list[Header] = [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")]
        key = b"dGhlIHNhbXBsZSBub25jZQ=="
        self.assertIsNone(websocket_key(parse(pseudo=extended, ended=False).head))
        self.assertEqual(websocket_key(parse((b"sec-websocket-key", key), pseudo=extended, ended=False).head), key)
        head = ResponseHead(101, b"", b"1.1", ((b"Sec-WebSocket-Accept", b"x"),), NO_BODY, True, frozenset())
        accepted = (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.assertEqual(switch_fields(head, key), [(b":status", b"200"), accepted, (b"via", b"1.1 egressproxy")])


class MalformedRequestTests(SynchronousTestCase):
    """Requests that are errors of their streams."""

    def test_fields(self) -> None:
        for field in (
            (b"X-One", b"1"),
            (b"", b"1"),
            (b"x y", b"1"),
            (b"x:y", b"1"),
            (b"x\ny", b"1"),
            (b"x\xe4", b"1"),
            (b"x", b"a\r\nb: c"),
            (b"x", b"a\nb"),
            (b"x", b"a\rb"),
            (b"x", b"a\0b"),
            (b"x", b"a\x7fb"),
            (b"x", b" a"),
            (b"x", b"a "),
            (b"x", b"\ta"),
            (b"x", b"a\t"),
            (b"connection", b"close"),
            (b"proxy-connection", b"close"),
            (b"keep-alive", b"5"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"websocket"),
            (b"te", b"gzip"),
            (b"te", b"trailers, gzip"),
            (b":path", b"/late"),
            *((b"content-length", value) for value in (b"9" * 20, b"+7", b"-1", b"", b"7, 7", b"7x", b"1_0", b"\xb2")),
        ):
            with self.subTest(field):
                self.assertRaises(MalformedMessage, parse, (b"a", b"b"), field, (b"c", b"d"), pseudo=POST, ended=False)

    def test_values_that_are_allowed(self) -> None:
        for value in (b"", b"a b", b"a\tb", b"\xe4\xff", b"a,b;c"):
            with self.subTest(value):
                self.assertEqual(parse((b"x", value)).head.headers[1], (b"x", value))

    def test_lengths(self) -> None:
        length = (b"content-length", b"5")
        self.assertRaises(MalformedMessage, parse, length, ended=True)
        self.assertRaises(MalformedMessage, parse, length, length, pseudo=POST, ended=False)
        extended = [(b":method", b"CONNECT"), *GET[1:], (b":protocol", b"websocket")]
        self.assertRaises(MalformedMessage, parse, (b"content-length", b"x"), pseudo=extended, ended=False)

    def test_pseudo_header_fields(self) -> None:
        for pseudo in (
            replaced(b":method", None),
            replaced(b":scheme", None),
            replaced(b":path", None),
            replaced(b":path", b""),
            replaced(b":path", b"a"),
            replaced(b":path", b"@evil.test/"),
            replaced(b":path", b"http://evil.test/"),
            replaced(b":path", b"*"),
            replaced(b":path", b"/a\nb"),
            replaced(b":authority", b"a\rb"),
            replaced(b":method", b"GET /b HTTP/1.1"),
            replaced(b":method", b""),
            replaced(b":method", b"A" * 65),
            [*GET, (b":path", b"/b")],
            [*GET, (b":status", b"200")],
            [*GET, (b":protocol", b"websocket")],
            [(b":method", b"CONNECT"), *GET[1:]],
            [(b":method", b"CONNECT")],
            [(b":method", b"CONNECT"), (b":authority", b"a"), (b":protocol", b"websocket")],
        ):
            with self.subTest(pseudo):
                self.assertRaises(MalformedMessage, parse, pseudo=pseudo)


class TrailerTests(SynchronousTestCase):
    """The fields after the content of a request."""

    def test_trailers(self) -> None:
        end = parse_trailers([(b"x", b"y"), (b"content-length", b"5")], LIMITS)
        self.assertEqual(end.trailers, ((b"x", b"y"),))

    def test_malformed(self) -> None:
        for fields in ([(b":path", b"/")], [(b"X", b"y")], [(b"x", b"y")] * 11, [(b"x", b"y" * 1000)]):
            with self.subTest(fields):
                self.assertRaises(MalformedMessage, parse_trailers, fields, LIMITS)


class ResponseTests(SynchronousTestCase):
    """Responses to the client."""

    def head(self, *fields: Header, status: int = 200, framing: Framing = DELIMITED) -> ResponseHead:
        """A response of an origin in HTTP/1.1."""
        return ResponseHead(status, b"OK", b"1.1", fields, framing, True, frozenset({b"x-hop"}))

    def test_a_response(self) -> None:
        head = self.head(
            (b"X-One", b"A"), (b"Connection", b"x-hop"), (b"X-Hop", b"1"), (b"Transfer-Encoding", b"chunked")
        )
        self.assertEqual(response_fields(head), [(b":status", b"200"), (b"x-one", b"A"), (b"via", b"1.1 egressproxy")])

    def test_a_length(self) -> None:
        framing = Framing(BodyKind.LENGTH, 5)
        for fields in ([], [(b"Content-Length", b"5")]):
            with self.subTest(fields):
                found = response_fields(self.head(*fields, framing=framing))
                self.assertEqual([value for name, value in found if name == b"content-length"], [b"5"])

    def test_an_interim_response(self) -> None:
        head = self.head((b"Link", b"</a>"), status=103, framing=NO_BODY)
        self.assertEqual(interim_fields(head), [(b":status", b"103"), (b"link", b"</a>")])

    def test_an_error(self) -> None:
        response = ErrorResponse(403, b"Forbidden", [(b"Date", b"today")], b"")
        self.assertEqual(error_fields(response), [(b":status", b"403"), (b"date", b"today")])

    def test_trailers(self) -> None:
        self.assertEqual(lower_case(((b"X", b"Y"),)), ((b"x", b"Y"),))
