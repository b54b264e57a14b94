"""Tests for L{egress.proxy.overload}."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated

from egress.config.model import Limits
from egress.proxy.factory import ProxyFactory
from egress.proxy.overload import RejectedConnection
from egress.tls.host_contexts import select_protocol
from egress.transport.tls import ServerTls, TlsFactory
from tests.certificates import TestCA
from tests.proxy.fakes import ProxyTestCase, Wire, content_of, request
from tests.proxy.http2_client import Http2Client
from tests.transport.tls import TlsClient, TlsEnd, presenting


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


class TlsTests(ProxyTestCase):
    """The response follows the TLS handshake, in the version of HTTP that the client has selected."""

    def setUp(self) -> None:
        self.build(limits=Limits(connections=1))

    def open(self, *protocols: bytes) -> TlsEnd:
        """Connect to a listener with TLS."""
        context = TestCA().issue("proxy.test").server_context()
        context.set_alpn_select_callback(select_protocol)
        factory = TlsFactory(ServerTls(context), False, ProxyFactory(self.proxy.parts), clock=self.clock)
        wire = Wire(self.clock).connect(factory.buildProtocol(None))
        self.clients.append(wire)
        return TlsClient(wire, None, context=presenting(None), protocols=protocols).shake()

    def test_http1(self) -> None:
        for protocols in ((), (b"http/1.1",)):
            with self.subTest(protocols):
                answer = self.open(*protocols).take()
                self.assertTrue(answer.startswith(b"HTTP/1.1 503 Service Unavailable (overloaded)\r\n"), answer)

    def test_http2(self) -> None:
        """A GOAWAY tells that no request was processed, so the client can send it again later."""
        http2 = Http2Client(self.open(b"h2"))
        (goodbye,) = (event for event in http2.events if isinstance(event, ConnectionTerminated))
        self.assertEqual((goodbye.error_code, goodbye.last_stream_id), (ErrorCodes.ENHANCE_YOUR_CALM, 0))
        self.assertIn(b"the proxy serves 1 connections already", goodbye.additional_data or b"")
        self.assertEqual(self.outcomes(), ["overloaded"])
        self.clock.advance(0)
        self.assertTrue(http2.tls.read().closed)

    def test_no_response(self) -> None:
        """A client that is aborted without a response."""
        closed: list[RejectedConnection] = []
        rejected = RejectedConnection(self.proxy.parts, None, closed.append)
        wire = Wire(self.clock).connect(rejected)
        rejected.handshakeCompleted()
        self.clock.advance(0)
        self.assertEqual((wire.take(), closed), (b"", [rejected]))
