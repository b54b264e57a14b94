"""Tests for L{egress.proxy.grpc_deadline}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.http.heads import HeadLimits, parse_request_head
from egress.proxy.grpc_deadline import response_timeout
from tests.proxy.fakes import ProxyTestCase, request

LIMITS = Limits(response_timeout=300.0, tunnel_timeout=3600.0)
GRPC = "Content-Type: application/grpc"


def timeout(*fields: str, limits: Limits = LIMITS, method: str = "POST") -> float:
    """Return the timeout of a request."""
    return response_timeout(
        parse_request_head(request(method, "http://origin.test/a.B/C", *fields), HeadLimits(2000, 20, 200)), limits
    )


class TimeoutTests(SynchronousTestCase):
    """The time for which an exchange may be silent."""

    def test_other_requests(self) -> None:
        self.assertEqual(timeout(), 300.0)
        self.assertEqual(timeout(GRPC, method="GET"), 300.0)
        self.assertEqual(timeout("grpc-timeout: 1H"), 300.0)

    def test_without_a_deadline(self) -> None:
        self.assertEqual(timeout(GRPC), 3600.0)
        self.assertEqual(timeout(GRPC, "grpc-timeout: soon"), 3600.0)
        self.assertEqual(timeout(GRPC, limits=Limits(response_timeout=300.0, tunnel_timeout=60.0)), 300.0)

    def test_with_a_deadline(self) -> None:
        self.assertEqual(timeout(GRPC, "grpc-timeout: 10M"), 600.0)
        self.assertEqual(timeout(GRPC, "grpc-timeout: 1S"), 300.0)
        self.assertEqual(timeout(GRPC, "grpc-timeout: 99999999H"), 3600.0)


class SilentStreamTests(ProxyTestCase):
    """A stream in an exchange."""

    def test_a_stream_without_messages_stays_open(self) -> None:
        self.build(limits=LIMITS)
        self.client.feed(request("POST", "http://origin.test/a.B/C", GRPC, "Transfer-Encoding: chunked"))
        self.client.feed(b"0\r\n\r\n")
        self.clock.advance(3500)
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.clock.advance(3500)
        self.origin.feed(b"0\r\ngrpc-status: 0\r\n\r\n")
        self.assertIn(b"grpc-status: 0\r\n\r\n", self.client.take())
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_it_ends_at_the_timeout_of_tunnels(self) -> None:
        self.build(limits=LIMITS)
        self.client.feed(request("POST", "http://origin.test/a.B/C", GRPC))
        self.clock.advance(3601)
        self.assertIn(b"\r\ngrpc-status: 4\r\n", self.client.take())
        self.assertEqual(self.outcomes(), ["origin-timeout"])
