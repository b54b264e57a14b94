"""Tests for L{egress.transport.bounded_http}."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from egress.observability.health import OpsRequest
from egress.transport.bounded_http import BoundedChannel, BoundedSite, ChannelBounds
from egress.transport.fair_turns import RoundRobin
from egress.transport.lingering_close import LINGER_SECONDS
from tests.proxy.fakes import Wire, status_of

GET = b"GET /now HTTP/1.1\r\nHost: a\r\n\r\n"
TOKEN = b"GET /now HTTP/1.1\r\nHost: a\r\nAuthorization: yes\r\n\r\n"
LATER = b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /now HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class _Page(Resource):
    """Responds to C{/now} immediately, and to C{/later} when a test says so."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.answered = 0
        self.waiting: list[Request] = []

    def render(self, request: Request) -> Any:
        channel: Any = request.channel
        channel.known = request.requestHeaders.hasHeader(b"authorization")
        if request.path == b"/later":
            self.waiting.append(request)
            return NOT_DONE_YET
        self.answered += 1
        return b"ok"


class ChannelTestCase(SynchronousTestCase):
    """A site with four connections."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.page = _Page()
        self.site = BoundedSite(self.clock, ChannelBounds(4), self.page, OpsRequest)
        # No turn has time for a second job.
        self.site.turns = RoundRobin(self.clock, -1.0)

    def connect(self, host: str = "192.0.2.1") -> Wire:
        wire = Wire(self.clock, IPv4Address("TCP", host, 40000))
        return wire.connect(self.site.buildProtocol(IPv4Address("TCP", host, 40000)))

    def one_turn(self) -> None:
        """Run one turn of the reactor."""
        due: list[Any] = [call for call in self.clock.getDelayedCalls() if call.getTime() <= self.clock.seconds()]
        for call, func in [(call, call.func) for call in due]:
            call.cancel()
            func()


class EvictionTests(ChannelTestCase):
    """A new connection replaces one that has not authenticated."""

    def test_the_client_with_the_most_connections_loses_one(self) -> None:
        other = self.connect("192.0.2.2")
        wires = [self.connect() for _ in range(6)]
        self.clock.advance(0)
        self.assertEqual([wire.aborted for wire in wires], [True, True, True, False, False, False])
        self.assertEqual((other.aborted, len(self.site.channels)), (False, 4))

    def test_authenticated_connections_stay(self) -> None:
        known = [self.connect().feed(TOKEN) for _ in range(4)]
        turned = self.connect()
        self.clock.advance(0)
        self.assertTrue(turned.aborted)
        self.assertEqual([wire.aborted for wire in known], [False] * 4)
        known[0].lose()
        self.assertEqual(status_of(self.connect().feed(TOKEN).take()), 200)

    def test_connections_with_a_pending_response_stay(self) -> None:
        for _ in range(4):
            self.connect().feed(LATER)
        self.assertTrue(self.connect().aborted)

    def test_a_client_without_an_address(self) -> None:
        channel: BoundedChannel = self.site.buildProtocol(UNIXAddress(None))
        self.assertEqual(channel.client, "")


class TimeoutTests(ChannelTestCase):
    """Connections time out."""

    def test_a_slow_head(self) -> None:
        wire = self.connect()
        for at in range(9):
            wire.feed(GET[at : at + 1])
            self.clock.advance(1)
        self.assertFalse(wire.disconnected)
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(wire.disconnected)

    def test_idle(self) -> None:
        wire = self.connect()
        self.clock.advance(30)
        self.clock.advance(0)
        self.assertTrue(wire.disconnected)


class TurnTests(ChannelTestCase):
    """The work in one turn of the reactor is limited."""

    def test_pipelined_requests(self) -> None:
        wire = self.connect()
        wire.protocol.dataReceived(GET * 200)
        first = self.page.answered
        self.assertLess(first, 40)
        self.assertTrue(wire.paused)
        self.one_turn()
        self.assertLess(self.page.answered, 2 * first + 2)
        while wire.paused:
            self.one_turn()
        self.assertEqual(self.page.answered, 200)

    def test_requests_after_content(self) -> None:
        wire = self.connect()
        wire.protocol.dataReceived(
            b"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000 + GET * 200
        )
        self.assertEqual(self.page.answered, 1)
        self.clock.advance(0)
        self.assertEqual((self.page.answered, wire.paused), (201, False))

    def test_requests_after_a_pending_one(self) -> None:
        wire = self.connect()
        wire.protocol.dataReceived(LATER + GET * 100)
        self.assertEqual(self.page.answered, 0)
        (request,) = self.page.waiting
        request.write(b"late")
        request.finish()
        self.assertLess(self.page.answered, 40)
        self.clock.advance(0)
        self.assertEqual((self.page.answered, wire.paused), (100, False))

    def test_tiny_chunks(self) -> None:
        wire = self.connect()
        wire.protocol.dataReceived(CHUNKED + b"1\r\na\r\n" * 2000 + b"0\r\n\r\n")
        self.assertTrue(wire.paused)
        wire.protocol.dataReceived(GET)
        self.assertEqual(self.page.answered, 0)
        self.clock.advance(0)
        self.assertEqual((self.page.answered, wire.paused), (2, False))

    def test_lost_while_waiting(self) -> None:
        wire = self.connect()
        wire.protocol.dataReceived(GET * 200)
        answered = self.page.answered
        wire.lose()
        self.clock.advance(0)
        self.assertEqual(self.page.answered, answered)


class EndTests(ChannelTestCase):
    """The last response arrives."""

    def test_an_error(self) -> None:
        wire = self.connect()
        wire.polite = False
        wire.feed(b"nonsense\r\n\r\n" + b"x" * 1000)
        self.assertEqual(status_of(wire.take()), 400)
        self.assertEqual((wire.write_closed, wire.disconnecting), (True, False))
        wire.feed(b"x" * 100_000)
        self.assertEqual((wire.take(), wire.undelivered), (b"", 0))
        wire.end()
        self.assertTrue(wire.disconnected)
        self.assertFalse(wire.aborted)

    def test_a_peer_that_never_ends(self) -> None:
        wire = self.connect()
        wire.polite = False
        wire.feed(b"GET /now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.assertEqual(status_of(wire.take()), 200)
        self.clock.advance(LINGER_SECONDS)
        self.assertTrue(wire.aborted)

    def test_the_client_ends_first(self) -> None:
        wire = self.connect()
        wire.feed(LATER)
        wire.protocol.writeConnectionLost()
        wire.end()
        self.assertTrue(wire.disconnected)
        self.assertEqual(self.site.channels, {})
