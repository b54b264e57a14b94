"""Tests for L{egress.proxy.delimited_heads}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import DELIMITED, NO_BODY, BodyKind, ForwardedHead, Framing, ResponseHead
from egress.http.heads import HeadLimits
from egress.http.readers import ResponseReader
from egress.proxy.delimited_heads import delimited, delimited_request

FIVE = Framing(BodyKind.LENGTH, 5)


def read_head(data: bytes) -> ResponseHead:
    """Parse the head of a response to a GET."""
    reader = ResponseReader(HeadLimits(4096, 100, 1024))
    reader.expect("GET")
    reader.receive(data)
    head = reader.next_event()
    assert isinstance(head, ResponseHead)
    return head


class RequestTests(SynchronousTestCase):
    """The head of a request."""

    def test_without_a_length(self) -> None:
        for framing in (NO_BODY, DELIMITED):
            head = ForwardedHead("POST", b"/", [(b"Host", b"a.test")], framing)
            self.assertIs(delimited_request(head), head)

    def test_with_a_length(self) -> None:
        fields = [(b"Host", b"a.test"), (b"CONTENT-length", b"5")]
        head = delimited_request(ForwardedHead("POST", b"/x", fields, FIVE))
        self.assertEqual((head.method, head.target, head.framing), ("POST", b"/x", DELIMITED))
        names = [name.lower() for name, _ in head.fields]
        self.assertIn(b"transfer-encoding", names)
        self.assertNotIn(b"content-length", names)


class ResponseTests(SynchronousTestCase):
    """The head of a response."""

    def test_without_a_length(self) -> None:
        head = read_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertIs(delimited(head), head)

    def test_with_a_length(self) -> None:
        head = delimited(read_head(b"HTTP/1.1 200 OK\r\nContent-LENGTH: 5\r\nX-A: b\r\n\r\n"))
        self.assertEqual((head.status, head.headers, head.framing), (200, ((b"X-A", b"b"),), DELIMITED))
