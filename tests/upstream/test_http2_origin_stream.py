"""Tests for L{egress.upstream.http2_origin_stream}: the cases that the tests of the connection do not cover."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from egress.model.errors import OriginDisconnected
from egress.upstream.interfaces import IOriginStream
from tests.upstream.test_http2_origin_connection import ConnectionTestCase


class Http2OriginStreamTests(ConnectionTestCase):
    """A stream before and after its exchange."""

    def test_interface(self) -> None:
        stream = self.connection.open_stream()
        verifyObject(IOriginStream, stream)
        self.assertEqual((stream.route, stream.hop), (self.connection.route, self.connection.hop))
        self.assertEqual(stream.hop.http, "2")
        self.assertFalse(stream.reusable or stream.logged_in)

    def test_calls_after_the_end(self) -> None:
        """They have no effect."""
        sink = self.send()
        self.wire.respond(1)
        events = list(sink.events)
        sink.stream.pause()
        sink.stream.resume()
        sink.stream.resume()
        sink.stream.pause_request()
        sink.stream.resume_request()
        sink.stream.flush()
        sink.stream.close()
        self.assertEqual(sink.events, events)
        self.assertEqual(self.wire.resets, [])

    def test_a_failure_while_paused(self) -> None:
        """The part of the response that waits is not kept in memory."""
        sink = self.send()
        sink.pause_after_head = True
        self.wire.respond(1, b"x", end=False)
        self.wire.act(lambda h2: h2.reset_stream(1))
        sink.stream.resume()
        self.assertEqual(sink.events, [200, (OriginDisconnected, False, False)])

    def test_a_request_that_is_resumed_after_its_end(self) -> None:
        sink = self.send()
        sink.stream.pause_request()
        sink.stream.abort()
        sink.stream.resume_request()
        self.assertEqual(sink.events, ["pause"])
