"""Tests for L{egress.http2.origin_fields}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import DELIMITED, HTTP_2, NO_BODY, BodyKind, ForwardedHead, Framing, ResponseHead
from egress.http.heads import HeadLimits
from egress.http2.origin_fields import request_fields, request_trailers, response_head, response_trailers
from egress.model.decision import Header
from egress.model.errors import OriginProtocolError

LIMITS = HeadLimits(head=300, fields=5, target=50)
OK = (b":status", b"200")


class RequestTests(SynchronousTestCase):
    """A forwarded head becomes a header list."""

    def test_pseudo_header_fields(self) -> None:
        head = ForwardedHead("GET", b"/a?b", [(b"Host", b"Origin.test"), (b"Accept", b"*/*")], NO_BODY)
        self.assertEqual(
            request_fields(head, b"https"),
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", b"Origin.test"),
                (b":path", b"/a?b"),
                (b"accept", b"*/*"),
            ],
        )

    def test_asterisk_form(self) -> None:
        head = ForwardedHead("OPTIONS", b"*", [(b"Host", b"origin.test")], NO_BODY)
        self.assertIn((b":path", b"*"), request_fields(head, b"https"))

    def test_connection_specific_fields_are_not_sent(self) -> None:
        fields = [
            (b"Host", b"origin.test"),
            (b"TE", b"trailers"),
            (b"Connection", b"TE"),
            (b"Transfer-Encoding", b"chunked"),
            (b"Keep-Alive", b"1"),
            (b"Proxy-Connection", b"close"),
            (b"Upgrade", b"x"),
            (b"Cookie", b"a=1; b=2"),
            (b"X", b" y\t"),
        ]
        self.assertEqual(
            request_fields(ForwardedHead("POST", b"/", fields, DELIMITED), b"https")[4:],
            [(b"te", b"trailers"), (b"cookie", b"a=1; b=2"), (b"x", b"y")],
        )

    def test_trailers(self) -> None:
        self.assertEqual(request_trailers(((b"X-Sum", b" 1"), (b"Connection", b"x"))), [(b"x-sum", b"1")])


class ResponseTests(SynchronousTestCase):
    """A header list becomes the head of a response, or an error."""

    def parse(self, *fields: Header, method: str = "GET", ended: bool = False) -> ResponseHead:
        return response_head([OK, *fields], method, LIMITS, ended=ended)

    def error(self, *fields: Header, method: str = "GET", ended: bool = False) -> str:
        error = self.assertRaises(OriginProtocolError, response_head, fields, method, LIMITS, ended=ended)
        return str(error.reason)

    def test_head(self) -> None:
        fields = ((b"content-type", b"text/plain"), (b"set-cookie", b"a"), (b"set-cookie", b"b"))
        head = self.parse(*fields)
        self.assertEqual(head, ResponseHead(200, b"", HTTP_2, fields, DELIMITED, True, frozenset(), False))

    def test_content_length(self) -> None:
        head = self.parse((b"content-length", b"12"))
        self.assertEqual(head.framing, Framing(BodyKind.LENGTH, 12))

    def test_a_leading_zero_is_removed(self) -> None:
        head = self.parse((b"a", b"1"), (b"content-length", b"012"), (b"b", b"2"))
        self.assertEqual(head.headers, ((b"a", b"1"), (b"content-length", b"12"), (b"b", b"2")))
        self.assertEqual(self.parse((b"content-length", b"0")).headers, ((b"content-length", b"0"),))

    def test_the_end_of_the_stream(self) -> None:
        """A response that ends with its head has no content, which an HTTP/1 client must be told."""
        self.assertEqual(self.parse(ended=True).framing, Framing(BodyKind.LENGTH, 0))
        self.assertEqual(self.parse((b"content-length", b"0"), ended=True).framing, Framing(BodyKind.LENGTH, 0))
        self.assertIn("announces content", self.error(OK, (b"content-length", b"1"), ended=True))

    def test_responses_without_content(self) -> None:
        length = (b"content-length", b"12")
        for fields, method in (
            ([OK, length], "HEAD"),
            ([(b":status", b"204")], "GET"),
            ([(b":status", b"304"), length], "GET"),
        ):
            for ended in (False, True):
                self.assertEqual(response_head(fields, method, LIMITS, ended=ended).framing, NO_BODY)

    def test_interim_responses(self) -> None:
        head = response_head([(b":status", b"103"), (b"link", b"</a>")], "GET", LIMITS, ended=False)
        self.assertEqual((head.status, head.framing), (103, NO_BODY))
        self.assertIn("101", self.error((b":status", b"101")))
        self.assertIn("interim", self.error((b":status", b"103"), ended=True))

    def test_authentication_of_the_connection(self) -> None:
        for field, found in (
            ((b"www-authenticate", b"Negotiate"), True),
            ((b"www-authenticate", b"Basic"), False),
            ((b"persistent-auth", b"true"), True),
        ):
            self.assertIs(self.parse(field).connection_auth, found)

    def test_white_space_around_a_value_is_removed(self) -> None:
        self.assertEqual(self.parse((b"a", b" b c\t")).headers, ((b"a", b"b c"),))

    def test_malformed_status(self) -> None:
        for status in (b"", b"20", b"2000", b"099", b"+20", b"2\xb20", b" 200"):
            self.assertIn(":status is malformed", self.error((b":status", status)))
        self.assertIn("does not begin with :status", self.error())
        self.assertIn("does not begin with :status", self.error((b"a", b"b"), OK))

    def test_pseudo_header_fields(self) -> None:
        for field in (OK, (b":path", b"/"), (b":x", b"y"), (b":", b"")):
            self.assertIn("pseudo-header", self.error(OK, field))
            self.assertIn("pseudo-header", self.error(OK, (b"a", b"b"), field))

    def test_malformed_names(self) -> None:
        for name in (b"", b"A", b"a b", b"a:b", b"a\r\nb", b"\x00", b"\xe9", b" a", b"a "):
            self.assertIn("token in lower case", self.error(OK, (name, b"x")))

    def test_malformed_values(self) -> None:
        for value in (b"a\r\nb: c", b"a\nb", b"a\rb", b"a\x00", b"\x7f", b"\x1b"):
            self.assertIn("control characters", self.error(OK, (b"x", value)))

    def test_connection_specific_fields(self) -> None:
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"):
            self.assertIn("not permitted", self.error(OK, (name, b"close")))

    def test_ambiguous_lengths(self) -> None:
        length = (b"content-length", b"1")
        for fields in (
            (length, length),
            ((b"content-length", b"1, 1"),),
            ((b"content-length", b"+1"),),
            ((b"content-length", b""),),
            ((b"content-length", b"9" * 20),),
            ((b"content_length", b"1"),),
            ((b"transfer_encoding", b"chunked"),),
        ):
            self.error(OK, *fields)

    def test_limits(self) -> None:
        self.assertEqual(len(self.parse(*[(b"a", b"b")] * 5).headers), 5)
        self.assertIn("more than 5 fields", self.error(OK, *[(b"a", b"b")] * 6))
        self.assertIn("more than 300 bytes", self.error(OK, (b"a", b"b" * 300)))

    def test_trailers(self) -> None:
        self.assertEqual(response_trailers([(b"x", b"1"), (b"content-length", b"2")], LIMITS), ((b"x", b"1"),))
        error = self.assertRaises(OriginProtocolError, response_trailers, [OK], LIMITS)
        self.assertIn("trailers are malformed", error.reason)
