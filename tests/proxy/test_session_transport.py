"""Tests for L{egress.proxy.session_transport}; see also the sessions."""

from __future__ import annotations

from tests.proxy.fakes import ProxyTestCase, session_of


class SessionTransportTests(ProxyTestCase):
    """Writing and reading, until the session closes."""

    def test_reading(self) -> None:
        session = session_of(self.client)
        session.pause_reading()
        session.pause_reading()
        self.assertTrue(self.client.paused)
        session.resume_reading()
        self.assertFalse(self.client.paused)

    def test_closed(self) -> None:
        session = session_of(self.client)
        session.write(b"x")
        session.abort()
        session.write(b"y")
        session.pause_reading()
        session.resume_reading()
        self.assertEqual((self.client.take(), self.client.paused), (b"x", False))
