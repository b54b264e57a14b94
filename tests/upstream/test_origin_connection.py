"""Tests for L{egress.upstream.origin_connection}: the cases that the tests of the exchange do not cover."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.http.events import DELIMITED, END, NO_BODY, BodyKind, End, ForwardedHead, Framing, ResponseHead
from egress.http.heads import HeadLimits
from egress.model.authority import Authority, Origin
from egress.model.decision import Headers
from egress.model.errors import EgressError, OriginDisconnected, OriginProtocolError, OriginTlsFailed
from egress.model.route import Route
from egress.transport.fair_turns import RoundRobin
from egress.upstream.interfaces import IOriginStream, IResponseSink
from egress.upstream.origin_connection import BUDGET, OriginConnection
from tests.proxy.fakes import Wire

ROUTE = Route(Origin("http", Authority("origin.test", 80)), (), None, False, False)


@implementer(IResponseSink)
class Sink:
    """Records its events, and can react to each of them."""

    def __init__(self, connection: OriginConnection) -> None:
        self.connection = connection
        self.events: list[object] = []
        self.pause_at: object = None
        self.drop_at: object = None

    def _note(self, event: object) -> None:
        self.events.append(event)
        if event == self.pause_at:
            self.connection.pause()
        if event == self.drop_at:
            self.connection.abort()

    def response_head(self, head: ResponseHead) -> None:
        self._note(head.status)

    def response_data(self, data: bytes) -> None:
        self._note(data)

    def response_end(self, trailers: Headers) -> None:
        self._note("end")

    def response_flush(self) -> None:
        pass

    def response_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        self._note((type(error), untouched))

    def response_switched(self, data: bytes) -> None:
        self._note((b"switched", data))

    def pause_request(self) -> None:
        self._note("pause")

    def resume_request(self) -> None:
        self._note("resume")


class OriginConnectionTests(SynchronousTestCase):
    """Responses are delivered on demand, and end exactly once."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.connection = OriginConnection(ROUTE, HeadLimits(1000, 10, 100), self.clock, RoundRobin(self.clock))
        self.wire = Wire(self.clock).connect(self.connection)
        self.sink = Sink(self.connection)

    def tearDown(self) -> None:
        self.wire.lose()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def send(self, method: str = "GET") -> None:
        head = ForwardedHead(method, b"/", [(b"Host", b"origin.test")], NO_BODY)
        self.connection.send_request(self.sink, head, b"", END)

    def test_interface(self) -> None:
        verifyObject(IOriginStream, self.connection)

    def test_attributes(self) -> None:
        """The attributes are slots, so an instance has fewer than 30 others."""
        self.assertLess(len(getattr(self.connection, "__dict__", {})), 10)

    def sent(self, framing: Framing, content: bytes, end: End | None) -> bytes:
        """Send a request with content, and return the data after its head."""
        head = ForwardedHead("POST", b"/", [(b"Host", b"origin.test")], framing)
        self.connection.send_request(self.sink, head, content, end)
        return self.wire.take().partition(b"\r\n\r\n")[2]

    def test_content_of_known_length(self) -> None:
        self.assertEqual(self.sent(Framing(BodyKind.LENGTH, 5), b"abc", None), b"abc")
        self.connection.send_content(b"de", END)
        self.assertEqual(self.wire.take(), b"de")

    def test_chunked_content(self) -> None:
        self.assertEqual(self.sent(DELIMITED, b"abc", None), b"3\r\nabc\r\n")
        self.connection.send_content(b"0123456789A")
        self.assertEqual(self.wire.take(), b"b\r\n0123456789A\r\n")
        self.connection.send_content(b"", End(((b"X", b"y"),)))
        self.assertEqual(self.wire.take(), b"0\r\nX: y\r\n\r\n")

    def test_empty_chunked_content(self) -> None:
        self.assertEqual(self.sent(DELIMITED, b"", END), b"0\r\n\r\n")

    def test_chunked_content_in_one_piece(self) -> None:
        self.assertEqual(self.sent(DELIMITED, b"abc", END), b"3\r\nabc\r\n0\r\n\r\n")

    def test_data_after_an_upgrade_is_not_chunked(self) -> None:
        self.sent(DELIMITED, b"abc", END)
        self.wire.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.connection.send_content(b"raw")
        self.assertEqual(self.wire.take(), b"raw")

    def test_a_connection_is_reusable_after_a_complete_request_and_response(self) -> None:
        complete = b"HTTP/1.1 204 No\r\n\r\n"
        for end, choked, expected in ((END, False, True), (None, False, False), (END, True, False)):
            with self.subTest(end=end, choked=choked):
                self.setUp()
                self.sent(Framing(BodyKind.LENGTH, 3), b"abc", end)
                if choked:
                    self.wire.choke()
                self.assertFalse(self.connection.reusable)
                self.wire.feed(complete)
                self.assertIs(self.connection.reusable, expected)

    def test_a_request_that_is_shorter_than_announced(self) -> None:
        """The origin would take the next request for the rest."""
        for rest, expected in ((b"c", True), (b"", False), (b"cd", False)):
            with self.subTest(rest=rest):
                self.setUp()
                self.sent(Framing(BodyKind.LENGTH, 3), b"ab", None)
                self.connection.send_content(rest, END)
                self.wire.feed(b"HTTP/1.1 204 No\r\n\r\n")
                self.assertIs(self.connection.reusable, expected)

    def test_request_backpressure(self) -> None:
        self.wire.choke()
        self.wire.unchoke()
        self.send()
        self.wire.choke()
        self.wire.unchoke()
        self.assertEqual(self.sink.events, ["pause", "resume"])

    def test_interim_responses_take_turns(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n" * 20 + b"HTTP/1.1 204 No\r\n\r\n")
        self.assertEqual(len(self.sink.events), BUDGET, self.sink.events)
        self.assertTrue(self.wire.paused)
        self.clock.advance(0)
        self.assertFalse(self.wire.paused)
        self.assertIn("end", self.sink.events)

    def test_tiny_chunks_take_turns(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1000)
        self.connection.resume()
        self.assertTrue(self.wire.paused)
        self.connection.dataReceived(b"0\r\n\r\n")
        self.assertNotIn("end", self.sink.events)
        self.clock.advance(0)
        self.assertIn("end", self.sink.events)
        self.assertFalse(self.wire.paused)

    def test_end_follows_buffered_data(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n" * 20 + b"HTTP/1.1 200 OK\r\n\r\nall")
        self.wire.lose()
        self.assertNotIn("end", self.sink.events)
        self.clock.advance(0)
        self.assertEqual(self.sink.events[-3:], [200, b"all", "end"])

    def test_truncation_follows_buffered_data(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n" * 20)
        self.wire.lose()
        self.clock.advance(0)
        self.assertEqual(self.sink.events[-2:], [103, (OriginDisconnected, False)])

    def test_dropped_while_waiting_for_a_turn(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n" * 20)
        seen = len(self.sink.events)
        self.connection.abort()
        self.clock.advance(0)
        self.assertEqual(len(self.sink.events), seen)

    def test_paused_within_one_read(self) -> None:
        self.sink.pause_at = b"abcde"
        self.send()
        self.wire.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        self.assertEqual(self.sink.events, [200, b"abcde"])
        self.assertTrue(self.wire.paused)
        self.connection.resume()
        self.assertEqual(self.sink.events, [200, b"abcde", "end"])
        self.assertFalse(self.wire.paused)

    def test_paused_twice(self) -> None:
        self.connection.pause()
        self.connection.pause()
        self.assertEqual(self.wire.pauses, 1)
        self.connection.resume()
        self.connection.resume()
        self.assertFalse(self.wire.paused)

    def test_lost_while_paused(self) -> None:
        self.sink.pause_at = b"abcde"
        self.send()
        self.wire.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        self.wire.lose()
        self.assertEqual(self.sink.events[:3], [200, b"abcde", "end"])
        self.assertFalse(self.connection.reusable)

    def test_lost_while_paused_with_invalid_data(self) -> None:
        self.sink.pause_at = b"abc"
        self.send()
        self.wire.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        self.wire.lose()
        self.assertEqual(self.sink.events, [200, b"abc", (OriginProtocolError, False)])

    def test_dropped_during_the_response(self) -> None:
        self.sink.drop_at = 200
        self.send()
        self.wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        self.assertEqual(self.sink.events, [200])
        self.assertTrue(self.wire.aborted)

    def test_dropped_at_the_switch(self) -> None:
        self.sink.drop_at = 101
        self.send()
        self.wire.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\nabc")
        self.assertEqual(self.sink.events, [101])
        self.connection.dataReceived(b"more")
        self.assertEqual(self.sink.events, [101])

    def test_switched_protocol(self) -> None:
        self.send()
        self.wire.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\nabc")
        self.wire.feed(b"de")
        self.connection.pause()
        self.connection.resume()
        self.assertEqual(self.sink.events, [101, (b"switched", b"abc"), (b"switched", b"de")])
        self.assertFalse(self.connection.reusable)

    def test_lost_before_the_response(self) -> None:
        self.send()
        self.wire.lose()
        self.assertEqual(self.sink.events, [(OriginDisconnected, True)])

    def test_lost_within_the_response(self) -> None:
        self.send()
        self.wire.feed(b"HT")
        self.wire.lose(ConnectionLost())
        self.assertEqual(self.sink.events, [(OriginDisconnected, False)])

    def test_tls_alert(self) -> None:
        """In TLS 1.3 an origin rejects a certificate after the handshake."""
        errors: list[EgressError] = []
        for before in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"):
            self.setUp()
            errors.clear()
            self.patch(self.sink, "response_failed", lambda error, *, untouched: errors.append(error))
            self.send()
            self.wire.feed(before)
            self.wire.lose(SSL.Error([("SSL routines", "", "tlsv13 alert certificate required")]))
            (error,) = errors
            self.assertIs(type(error), OriginTlsFailed)
            self.assertIn("origin.test:80 ended the TLS session with the alert certificate_required", error.reason)
            self.assertIn("--origin-tls", error.reason)

    def test_end_writing(self) -> None:
        """TCP supports it; over TLS it would close both directions."""
        self.assertTrue(self.connection.end_writing())
        self.assertTrue(self.wire.write_closed)
        self.connection.transport = TLSMemoryBIOProtocol(object(), Protocol(), False)
        self.assertFalse(self.connection.end_writing())
        self.assertTrue(self.connection.encrypted)
        self.connection.transport = self.wire
        self.assertFalse(self.connection.encrypted)

    def test_methods_have_no_effect_after_the_loss(self) -> None:
        self.wire.lose()
        self.connection.abort()
        self.connection.close()
        self.connection.pause()
        self.assertEqual((self.wire.aborted, self.wire.disconnecting, self.wire.pauses), (False, False, 0))

    def test_methods_have_no_effect_before_the_connection(self) -> None:
        connection = OriginConnection(ROUTE, HeadLimits(1000, 10, 100), self.clock, RoundRobin(self.clock))
        connection.abort()
        connection.close()
        self.assertIsNone(connection.transport)
