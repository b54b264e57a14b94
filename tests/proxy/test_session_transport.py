"""Tests for L{egress.proxy.session_transport}."""

from __future__ import annotations

from tests.proxy.fakes import ProxyTestCase, request, response, session_of, status_of


class SessionTransportTests(ProxyTestCase):
    """The connection of a session, as exchanges and tunnels use it."""

    def setUp(self) -> None:
        super().setUp()
        self.session = session_of(self.client)

    def test_timeout(self) -> None:
        self.session.watch(5)
        self.clock.advance(4)
        self.session.watch(5)
        self.clock.advance(4)
        self.assertFalse(self.client.disconnected)
        self.clock.advance(1)
        self.assertTrue(self.client.disconnected)

    def test_no_timeout(self) -> None:
        """Without a timeout for a long time, there is no timer either. A later timeout works again."""
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.session.unwatch()
        self.session.unwatch()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(10_000)
        self.assertFalse(self.client.disconnected)
        self.session.watch(5)
        self.session.watch(None)
        self.clock.advance(10_000)
        self.assertFalse(self.client.disconnected)
        self.session.watch(5)
        self.clock.advance(5)
        self.assertTrue(self.client.disconnected)

    def test_pause(self) -> None:
        """Data that arrives during a pause is processed after it."""
        self.session.pause_reading()
        self.session.pause_reading()
        self.assertTrue(self.client.paused)
        self.session.resume_reading()
        self.session.resume_reading()
        self.assertFalse(self.client.paused)
        self.client.feed(request())
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_after_the_close(self) -> None:
        self.session.write(b"before")
        self.session.close()
        self.session.write(b"after")
        self.session.pause_reading()
        self.assertEqual(self.client.take(), b"before")
        self.assertFalse(self.client.paused)

    def test_closed(self) -> None:
        self.session.write(b"x")
        self.session.abort()
        self.session.write(b"y")
        self.session.pause_reading()
        self.session.resume_reading()
        self.assertEqual((self.client.take(), self.client.paused), (b"x", False))
