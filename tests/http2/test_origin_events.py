"""Tests for L{egress.http2.origin_events}."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import END, BodyKind, End, Framing, ResponseHead
from egress.http.heads import HeadLimits
from egress.http2.origin_events import StreamFailure, lost_connection, reset_failure, response_event
from egress.model.authority import Authority
from egress.model.errors import OriginDisconnected, OriginProtocolError

LIMITS = HeadLimits(1000, 10, 100)
ORIGIN = Authority("origin.test", 443)


def event_of(kind: type[Event], **values: object) -> Event:
    """Make an event; its constructor differs between the versions of h2."""
    event = kind.__new__(kind)
    for name, value in values.items():
        setattr(event, name, value)
    return event


class ResponseEventTests(SynchronousTestCase):
    """The events of a stream, as events of its response."""

    def translate(self, kind: type[Event], **values: object) -> object:
        return response_event(event_of(kind, stream_id=1, **values), "GET", LIMITS)

    def test_heads(self) -> None:
        fields = [(b":status", b"200")]
        for ended, framing in ((None, BodyKind.DELIMITED), (event_of(StreamEnded), BodyKind.LENGTH)):
            head = self.translate(ResponseReceived, headers=fields, stream_ended=ended)
            assert isinstance(head, ResponseHead)
            self.assertEqual((head.status, head.framing), (200, Framing(framing)))
        head = self.translate(InformationalResponseReceived, headers=[(b":status", b"103")])
        assert isinstance(head, ResponseHead)
        self.assertEqual(head.status, 103)

    def test_content(self) -> None:
        self.assertEqual(self.translate(DataReceived, data=b"abc"), b"abc")
        self.assertIsNone(self.translate(DataReceived, data=b""))

    def test_end(self) -> None:
        self.assertEqual(self.translate(TrailersReceived, headers=[(b"x", b"y")]), End(((b"x", b"y"),)))
        self.assertIs(self.translate(StreamEnded), END)

    def test_other_events(self) -> None:
        self.assertIsNone(self.translate(PingReceived))

    def test_malformed(self) -> None:
        for kind in (ResponseReceived, InformationalResponseReceived, TrailersReceived):
            with self.assertRaises(OriginProtocolError):
                self.translate(kind, headers=[(b"A", b"b")], stream_ended=None)


class FailureTests(SynchronousTestCase):
    """Resets, and the end of the connection."""

    def reset(self, code: ErrorCodes | int, *, remote: bool = True, responded: bool = False) -> StreamFailure:
        event = event_of(StreamReset, stream_id=1, error_code=code, remote_reset=remote)
        assert isinstance(event, StreamReset)
        return reset_failure(ORIGIN, event, responded=responded)

    def test_resets_by_the_origin(self) -> None:
        for code, unread in (
            (ErrorCodes.REFUSED_STREAM, True),
            (ErrorCodes.HTTP_1_1_REQUIRED, True),
            (ErrorCodes.INTERNAL_ERROR, False),
            (77, False),
        ):
            failure = self.reset(code)
            self.assertIsInstance(failure.error, OriginDisconnected)
            self.assertEqual((failure.unread, failure.connection_lost), (unread, False))
            self.assertFalse(self.reset(code, responded=True).unread)
        self.assertIn("(error 77)", self.reset(77).error.reason)

    def test_resets_by_the_proxy(self) -> None:
        failure = self.reset(ErrorCodes.PROTOCOL_ERROR, remote=False)
        self.assertIsInstance(failure.error, OriginProtocolError)
        self.assertIn("PROTOCOL_ERROR", failure.error.reason)

    def test_lost_connections(self) -> None:
        self.assertIn("announced the end", lost_connection(ORIGIN, ErrorCodes.NO_ERROR).reason)
        self.assertIn("closed the connection", lost_connection(ORIGIN, None).reason)
