"""Responses that end an upload before it is complete, such as 401 and 413.

A client that does not learn that the connection closes sends its next request on it, and that request fails
(C{capnproto/capnproto#2831}, C{scireum/sirius-web#584}, C{tinyproxy/tinyproxy#79}).  A connection that is closed with
unread data is reset, and the client loses the response (C{cherrypy/cherrypy#622}, C{aio-libs/aiohttp#927}).
"""

from __future__ import annotations

from egress.transport.lingering_close import LINGER_SECONDS
from tests.proxy.fakes import ProxyTestCase, deny, request, response, status_of

CLOSE = b"\r\nConnection: close\r\n"


class EarlyResponseTests(ProxyTestCase):
    """The response announces that the connection closes, and the client can read it."""

    def upload(self) -> None:
        """Send a request with only the first half of its content."""
        self.authorizer.needs_body = False
        self.client.polite = False
        self.client.feed(request("POST", body=b"x" * 100)[:-50])

    def closes(self, status: int) -> None:
        answer = self.client.take()
        self.assertEqual(status_of(answer), status)
        self.assertIn(CLOSE, answer)
        self.assertEqual((self.client.write_closed, self.client.disconnecting), (True, False))
        self.client.feed(b"x" * 50)
        self.assertEqual(self.client.undelivered, 0, "unread data would reset the connection")
        self.client.end()
        self.assertTrue(self.client.disconnected)
        self.assertFalse(self.client.aborted)

    def test_401_and_413_of_the_origin(self) -> None:
        for status in (401, 413):
            with self.subTest(status):
                self.upload()
                self.origin.feed(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
                self.closes(status)
                self.client = self.connect()

    def test_an_origin_that_does_not_close_its_connection(self) -> None:
        self.upload()
        self.origin.feed(b"HTTP/1.1 413 No\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(self.origin.disconnected, "it waits for the rest of the request")
        self.closes(413)

    def test_denied(self) -> None:
        self.authorizer.answers = [deny()]
        self.upload()
        self.closes(403)

    def test_content_over_the_limit(self) -> None:
        self.client.polite = False
        length = self.proxy.limits.body + 1
        self.client.feed(request("POST", "http://origin.test/", f"Content-Length: {length}") + b"x" * 50)
        self.closes(413)

    def test_a_rejected_expectation(self) -> None:
        """The client may send the content nevertheless, or not at all (RFC 9110 section 10.1.1)."""
        self.authorizer.needs_body = False
        self.client.polite = False
        self.client.feed(request("POST", "http://origin.test/", "Expect: 100-continue", "Content-Length: 50"))
        self.origin.feed(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
        self.closes(413)

    def test_a_completely_read_request(self) -> None:
        self.client.feed(request("POST", body=b"x" * 100))
        self.origin.feed(response())
        self.assertNotIn(CLOSE, self.client.take())
        self.assertFalse(self.client.write_closed)

    def test_a_client_that_never_stops_sending(self) -> None:
        self.upload()
        self.origin.feed(response())
        self.clock.advance(LINGER_SECONDS)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
