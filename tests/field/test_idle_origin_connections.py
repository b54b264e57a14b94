"""Requests that use a pooled connection just as the origin closes it.

Sources: golang/go#32310 (servers and load balancers send C{408} over an idle connection, which a client that does not
check takes for the response to its next request) and RFC 9112 section 9.5 (a close may race with a request).
"""

from __future__ import annotations

import socket

from tests.proxy.fakes import ProxyTestCase, content_of, request, response, status_of

LATE = (
    b"HTTP/1.0 408 Request Time-out\r\nCache-Control: no-cache\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n"
    b"<html><body><h1>408 Request Time-out</h1>\nYour browser didn't send a complete request in time.\n</body></html>\n"
)


class IdleConnectionTests(ProxyTestCase):
    """Data that arrived before the request was written is not the response to the request."""

    def rest(self) -> socket.socket:
        """Put a connection into the pool, over a socket whose events the reactor does not report.

        @return: the origin's end.
        """
        self.client.feed(request())
        self.origin.feed(response())
        self.client.take()
        far, self.origin.socket = socket.socketpair()
        self.addCleanup(far.close)
        self.addCleanup(self.origin.socket.close)
        return far

    def post(self) -> None:
        """A request that must not be repeated uses a new connection, and gets its response there."""
        self.client.feed(request("POST", body=b"content"))
        self.assertEqual(len(self.dialer.origins), 2)
        self.assertNotIn(b"POST", self.dialer.origins[0].written)
        self.assertEqual(content_of(self.origin.take()), b"content")
        self.origin.feed(response(b"done"))
        answer = self.client.take()
        self.assertEqual((status_of(answer), content_of(answer)), (200, b"done"))
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    def test_post_after_the_origin_closed(self) -> None:
        self.rest().close()
        self.post()

    def test_post_after_a_late_408(self) -> None:
        self.rest().sendall(LATE)
        self.post()

    def test_post_after_stray_bytes(self) -> None:
        self.rest().sendall(response(b"not yours"))
        self.post()

    def test_post_that_crosses_a_408(self) -> None:
        """The origin sent it before it read the request: RFC 9110 section 15.5.9 permits repeating the request."""
        self.rest()
        self.client.feed(request("POST", body=b"content"))
        self.dialer.origins[0].take()
        self.dialer.origins[0].feed(LATE)
        self.assertEqual(content_of(self.origin.take()), b"content")
        self.origin.feed(response(b"done"))
        self.assertEqual(content_of(self.client.take()), b"done")

    def test_a_408_that_the_reactor_reads_first(self) -> None:
        self.rest()
        self.origin.feed(LATE)
        self.assertTrue(self.origin.disconnected)
        self.post()
