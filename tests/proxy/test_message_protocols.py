"""Tests for L{egress.proxy.message_protocols}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.heads import HeadLimits, parse_request_head, parse_response_head
from egress.http.upgrade import Upgrade
from egress.messages.event_stream import EventStreamInspection
from egress.messages.grpc import GrpcInspection
from egress.messages.websocket import WebSocketInspection
from egress.model.errors import OriginProtocolError
from egress.model.message import Direction, MessageObligation
from egress.proxy.message_protocols import inspection_of_request, inspection_of_response, inspection_of_upgrade

LIMITS = HeadLimits(10_000, 100, 1000)
REQUIRED = MessageObligation()


class SelectionTests(SynchronousTestCase):
    """The protocol of an exchange."""

    def test_request(self) -> None:
        head = parse_request_head(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", LIMITS)
        self.assertIsNone(inspection_of_request(head, REQUIRED, "id-1"))

    def test_grpc(self) -> None:
        """The request determines the protocol, and the head of the response the compression of its messages."""
        head = parse_request_head(
            b"POST /a.B/C HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 1\r\n\r\n", LIMITS
        )
        found = inspection_of_request(head, REQUIRED, "id-1")
        assert isinstance(found, GrpcInspection)
        self.assertIsNone(found.origin)
        response = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", LIMITS, "POST")
        self.assertIs(inspection_of_response(response, REQUIRED, found), found)
        self.assertIsNotNone(found.origin)

    def test_response(self) -> None:
        head = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", LIMITS, "GET")
        found = inspection_of_response(head, REQUIRED, None)
        self.assertIsInstance(found, EventStreamInspection)
        self.assertIs(inspection_of_response(head, REQUIRED, found), found)
        head = parse_response_head(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", LIMITS, "GET")
        self.assertIsNone(inspection_of_response(head, REQUIRED, None))
        coded = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n\r\n"
        head = parse_response_head(coded, LIMITS, "GET")
        error = self.assertRaises(OriginProtocolError, inspection_of_response, head, REQUIRED, None)
        self.assertIn("'br'", error.reason)

    def test_events_that_are_not_authorized(self) -> None:
        coded = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n\r\n"
        head = parse_response_head(coded, LIMITS, "GET")
        self.assertIsNone(inspection_of_response(head, MessageObligation(frozenset({Direction.CLIENT})), None))

    def test_upgrade(self) -> None:
        head = parse_response_head(b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n\r\n", LIMITS, "GET")
        websocket = Upgrade(b"websocket", b"key")
        self.assertIsInstance(inspection_of_upgrade(head, websocket, REQUIRED), WebSocketInspection)
        self.assertRaises(OriginProtocolError, inspection_of_upgrade, head, Upgrade(b"tcp"), REQUIRED)
        head = parse_response_head(b"HTTP/1.1 101 OK\r\nSec-WebSocket-Extensions: x\r\n\r\n", LIMITS, "GET")
        self.assertRaises(OriginProtocolError, inspection_of_upgrade, head, websocket, REQUIRED)
