"""Tests for L{egress.authz.remote.messages}.  The tests of the agent cover the encoded messages."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface.verify import verifyObject

from egress.authz.remote.messages import Gather, Response, encode_head
from egress.http.heads import HeadLimits, parse_response_head
from tests.transport.reactors import Recorder


class ResponseTests(SynchronousTestCase):
    """A complete response, as C{IAgent} returns it."""

    def test_response(self) -> None:
        head = parse_response_head(
            b"HTTP/1.1 403 No\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\n", HeadLimits(1000, 9, 0), "POST"
        )
        response = Response(head, b"{}")
        self.assertTrue(verifyObject(IResponse, response))
        self.assertEqual((response.code, response.phrase, response.length), (403, b"No", 2))
        self.assertEqual(response.headers.getRawHeaders(b"x-a"), [b"1", b"2"])
        self.assertIs(response.headers, response.headers)
        content = Recorder()
        response.deliverBody(content)
        self.assertEqual(content.received, b"{}")


class RequestTests(SynchronousTestCase):
    """The head of a request."""

    def test_head(self) -> None:
        for headers, host in ((Headers(), b"a.test:81"), (Headers({"Host": ["b.test"]}), b"b.test")):
            head = encode_head(b"POST", b"http://a.test:81/x?y", headers)
            self.assertIn(b"POST /x?y HTTP/1.1\r\n", head)
            self.assertIn(b"Host: " + host + b"\r\n", head)
            self.assertEqual(head.count(b"Host:"), 1)
            self.assertTrue(head.endswith(b"\r\n"))

    def test_never_compressed(self) -> None:
        head = encode_head(b"POST", b"http://a.test/", Headers({"Accept-Encoding": ["gzip"]}))
        self.assertIn(b"Accept-Encoding: identity\r\n", head)
        self.assertNotIn(b"gzip", head)

    def test_content(self) -> None:
        gather = Gather()
        gather.registerProducer(object(), True)
        gather.write(b"one")
        gather.write(b"two")
        gather.unregisterProducer()
        self.assertEqual(gather.pieces, [b"one", b"two"])
