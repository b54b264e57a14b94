"""Tests for L{egress.proxy.exchange_report}."""

from __future__ import annotations

from tests.proxy.fakes import ProxyTestCase, deny, request, response


class ReportTests(ProxyTestCase):
    """The record of an exchange that has ended."""

    def test_a_response(self) -> None:
        self.client.feed(request("POST", body=b"abc"))
        self.origin.feed(response(b"hello"))
        (record,) = self.records
        self.assertEqual((record.outcome, record.status), ("forwarded", 200))
        self.assertEqual((record.bytes_sent, record.bytes_received), (3, 5))

    def test_a_denial(self) -> None:
        """The status is the one of the error response, and no byte was transferred."""
        self.authorizer.answers = [deny()]
        self.client.feed(request("POST", body=b"abc"))
        (record,) = self.records
        self.assertEqual((record.outcome, record.status), ("denied", 403))
        self.assertEqual((record.bytes_sent, record.bytes_received), (0, 0))

    def test_a_response_that_breaks_off(self) -> None:
        """The status is the one that the client received before the error."""
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.origin.lose()
        (record,) = self.records
        self.assertEqual((record.outcome, record.status), ("origin-disconnected", 200))
        self.assertEqual(record.bytes_received, 3)

    def test_no_response(self) -> None:
        """A client that has disconnected received no status."""
        self.client.feed(request())
        self.client.lose()
        (record,) = self.records
        self.assertEqual((record.outcome, record.status), ("client-disconnected", None))
