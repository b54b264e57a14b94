"""Tests for L{egress.upstream.origin_connection}: what the exchange of a whole proxy does not reach."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.trial.unittest import SynchronousTestCase

from egress.http.heads import HeadLimits, ResponseHead
from egress.model.authority import Authority, Origin
from egress.model.decision import Headers
from egress.model.errors import EgressError, OriginDisconnected, OriginProtocolError, OriginTlsFailed
from egress.model.route import Route
from egress.transport.fair_turns import RoundRobin
from egress.upstream.origin_connection import BUDGET, OriginConnection
from tests.proxy.fakes import Wire

ROUTE = Route(Origin("http", Authority("origin.test", 80)), (), None, False, False)


class Sink:
    """Notes what it is told, and can be told to do something at each step."""

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

    def response_failed(self, error: EgressError, *, untouched: bool) -> None:
        self._note((type(error), untouched))

    def response_switched(self, data: bytes) -> None:
        self._note((b"switched", data))

    def pause_request(self) -> None:
        self._note("pause")

    def resume_request(self) -> None:
        self._note("resume")


class OriginConnectionTests(SynchronousTestCase):
    """Answers come when they are wanted, and end once."""

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
        self.connection.send(self.sink, method, b"request")

    def test_the_pace_of_the_request(self) -> None:
        self.wire.choke()
        self.wire.unchoke()
        self.send()
        self.wire.choke()
        self.wire.unchoke()
        self.assertEqual(self.sink.events, ["pause", "resume"])

    def test_interim_answers_wait_for_their_turn(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n" * 20 + b"HTTP/1.1 204 No\r\n\r\n")
        self.assertEqual(len(self.sink.events), BUDGET, self.sink.events)
        self.assertTrue(self.wire.paused)
        self.clock.advance(0)
        self.assertFalse(self.wire.paused)
        self.assertIn("end", self.sink.events)

    def test_tiny_chunks_wait_for_their_turn(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 1000)
        self.connection.resume()
        self.assertTrue(self.wire.paused)
        self.connection.dataReceived(b"0\r\n\r\n")
        self.assertNotIn("end", self.sink.events)
        self.clock.advance(0)
        self.assertIn("end", self.sink.events)
        self.assertFalse(self.wire.paused)

    def test_the_end_waits_for_what_was_read_before_it(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n" * 20 + b"HTTP/1.1 200 OK\r\n\r\nall")
        self.wire.lose()
        self.assertNotIn("end", self.sink.events)
        self.clock.advance(0)
        self.assertEqual(self.sink.events[-3:], [200, b"all", "end"])

    def test_a_cut_waits_for_what_was_read_before_it(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n" * 20)
        self.wire.lose()
        self.clock.advance(0)
        self.assertEqual(self.sink.events[-2:], [103, (OriginDisconnected, False)])

    def test_dropped_while_it_waits(self) -> None:
        self.send()
        self.connection.dataReceived(b"HTTP/1.1 103 Early\r\n\r\n" * 20)
        seen = len(self.sink.events)
        self.connection.abort()
        self.clock.advance(0)
        self.assertEqual(len(self.sink.events), seen)

    def test_paused_in_the_middle_of_what_one_read_brought(self) -> None:
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

    def test_lost_while_paused_with_nonsense_to_come(self) -> None:
        self.sink.pause_at = b"abc"
        self.send()
        self.wire.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
        self.wire.lose()
        self.assertEqual(self.sink.events, [200, b"abc", (OriginProtocolError, False)])

    def test_dropped_on_the_way(self) -> None:
        self.sink.drop_at = 200
        self.send()
        self.wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        self.assertEqual(self.sink.events, [200])
        self.assertTrue(self.wire.aborted)

    def test_dropped_at_a_switch(self) -> None:
        self.sink.drop_at = 101
        self.send()
        self.wire.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\nabc")
        self.assertEqual(self.sink.events, [101])
        self.connection.dataReceived(b"more")
        self.assertEqual(self.sink.events, [101])

    def test_switched(self) -> None:
        self.send()
        self.wire.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\nabc")
        self.wire.feed(b"de")
        self.connection.pause()
        self.connection.resume()
        self.assertEqual(self.sink.events, [101, (b"switched", b"abc"), (b"switched", b"de")])
        self.assertFalse(self.connection.reusable)

    def test_lost_before_the_answer(self) -> None:
        self.send()
        self.wire.lose()
        self.assertEqual(self.sink.events, [(OriginDisconnected, True)])

    def test_lost_after_a_part_of_it(self) -> None:
        self.send()
        self.wire.feed(b"HT")
        self.wire.lose(ConnectionLost())
        self.assertEqual(self.sink.events, [(OriginDisconnected, False)])

    def test_an_alert(self) -> None:
        """In TLS 1.3 an origin refuses a certificate after the handshake."""
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

    def test_an_end_of_what_is_sent(self) -> None:
        """It is told over TCP; within TLS it would be one of both directions."""
        self.assertTrue(self.connection.end_writing())
        self.assertTrue(self.wire.write_closed)
        self.connection.transport = TLSMemoryBIOProtocol(object(), Protocol(), False)
        self.assertFalse(self.connection.end_writing())
        self.assertTrue(self.connection.encrypted)
        self.connection.transport = self.wire
        self.assertFalse(self.connection.encrypted)

    def test_nothing_happens_to_what_is_gone(self) -> None:
        self.wire.lose()
        self.connection.abort()
        self.connection.close()
        self.connection.pause()
        self.assertEqual((self.wire.aborted, self.wire.disconnecting, self.wire.pauses), (False, False, 0))

    def test_nothing_happens_to_what_was_never_connected(self) -> None:
        connection = OriginConnection(ROUTE, HeadLimits(1000, 10, 100), self.clock, RoundRobin(self.clock))
        connection.abort()
        connection.close()
        self.assertIsNone(connection.transport)
