"""Tests for L{egress.proxy.overload}."""

from __future__ import annotations

from egress.config.model import Limits
from tests.proxy.fakes import ProxyTestCase, content_of, request


class RejectedConnectionTests(ProxyTestCase):
    """One response, then the end of the connection."""

    def setUp(self) -> None:
        self.build(limits=Limits(connections=1))
        self.other = self.connect()

    def test_response(self) -> None:
        answer = self.other.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 Service Unavailable (overloaded)\r\n"), answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.assertIn(b'"type": "urn:egressproxy:overloaded"', content_of(answer))
        self.assertIn(b'"decisionId": "id-1"', content_of(answer))
        (record,) = self.records
        self.assertEqual(
            (record.request_id, record.client.address, record.verdict, record.status),
            ("id-1", "198.51.100.7", "rejected", 503),
        )

    def test_closed_after_the_request_arrives(self) -> None:
        self.other.take()
        self.assertFalse(self.other.disconnecting, "a reset would lose the response")
        self.other.feed(request())
        self.assertTrue(self.other.disconnected)
        self.assertFalse(self.other.aborted)
        self.assertEqual((self.dialer.checked, self.authorizer.asked), ([], []))

    def test_a_silent_client_is_aborted(self) -> None:
        self.clock.advance(1.9)
        self.assertFalse(self.other.aborted)
        self.clock.advance(0.2)
        self.assertTrue(self.other.aborted)
