"""Tests for L{egress.console.events}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.console.page import EventSink, EventStream, Page, Route
from tests.console.browser import COOKIE, HOST, ConsoleBrowser


class EventTests(SynchronousTestCase):
    """A stream of events to a browser."""

    def setUp(self) -> None:
        self.sinks: list[EventSink] = []
        self.ended: list[bool] = []

        def begin(sink: EventSink) -> Any:
            self.sinks.append(sink)
            return lambda: self.ended.append(True)

        route = Route("GET", "/stream", lambda _: EventStream(begin))
        self.browser = ConsoleBrowser(pages=[Page(name="stream", title="Stream", routes=lambda _: [route])])
        self.browser.sign_in()

    def open(self, method: str = "GET") -> Any:
        cookie = f"Cookie: {COOKIE}={self.browser.cookies[COOKIE]}\r\n"
        return self.browser.send(f"{method} /console/stream HTTP/1.1\r\nHost: {HOST}\r\n{cookie}\r\n".encode())

    def test_events(self) -> None:
        transport = self.open()
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"Content-Type: text/event-stream", head)
        self.assertIn(b"Cache-Control: no-store", head)
        self.assertIn(b": begin\n\n", body)
        transport.clear()
        (sink,) = self.sinks
        self.assertTrue(sink.is_writable)
        sink.send("rows", "a\nb")
        self.assertIn(b"event: rows\ndata: a\ndata: b\n\n", transport.value())
        sink.end()
        sink.end()
        sink.send("rows", "late")
        self.assertNotIn(b"late", transport.value())
        self.assertEqual((self.ended, sink.is_writable), ([True], False))

    def test_timeouts(self) -> None:
        """The timeouts of requests do not end a stream."""
        transport = self.open()
        self.browser.clock.advance(3600)
        self.assertTrue(transport.connected)

    def test_slow_browser(self) -> None:
        transport = self.open()
        (sink,) = self.sinks
        transport.producer.pauseProducing()
        self.assertFalse(sink.is_writable)
        transport.producer.resumeProducing()
        self.assertTrue(sink.is_writable)

    def test_browser_that_goes_away(self) -> None:
        transport = self.open()
        transport.loseConnection()
        self.browser.clock.advance(60)
        self.assertEqual((self.ended, self.sinks[0].is_writable), ([True], False))
        self.sinks[0].send("rows", "late")

    def test_head(self) -> None:
        self.assertIn(b"200 OK", self.open("HEAD").value())
        self.assertEqual(self.sinks, [])
