"""Tests for L{egress.proxy.tls_intercept}; the tests of the tunnel cover the handshakes."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.client_tls import LeafKey
from egress.proxy.tls_intercept import Handshake, TlsIntercept, parse_client_hello
from egress.tls.client_hello import UNREADABLE
from egress.transport.fair_turns import RoundRobin
from tests.proxy.fakes import NoLeaves, Wire
from tests.transport.tls import TlsClient, leaves

AUTHORITY = Authority("origin.test", 443)


class Session:
    """A session and the owner of its handshake.

    @ivar events: the calls.
    """

    def __init__(self) -> None:
        self.events: list[object] = []

    def handshake_over(self) -> None:
        self.events.append("over")

    def handshake_failed(self, reason: Failure) -> None:
        self.events.append(reason.type)

    def new_session(self, scheme: str, protocol: bytes | None) -> Session:
        self.events.append((scheme, protocol))
        return self

    def makeConnection(self, transport: object) -> None:
        self.events.append("connected")

    def handshakeCompleted(self) -> None:
        self.events.append("completed")

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def connectionLost(self, reason: Failure) -> None:
        self.events.append("lost")


class TlsInterceptTests(SynchronousTestCase):
    """The TLS layer of a tunnel presents a certificate for the tunnel's authority."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.interception = TlsIntercept(leaves(), RoundRobin(self.clock))
        self.session = Session()
        self.wire = Wire(self.clock)

    def connect(self) -> None:
        """Put the TLS layer on the client's transport."""
        handshake = Handshake(self.session)
        self.wire.connect(self.interception.layer(AUTHORITY, LeafKey.P256, handshake))

    def test_the_session_replaces_the_handshake(self) -> None:
        self.connect()
        client = TlsClient(self.wire).shake()
        self.assertEqual(self.session.events, ["over", ("https", None), "connected", "completed"])
        client.send(b"hello")
        self.wire.lose()
        self.assertEqual(self.session.events[4:], [b"hello", "lost"])

    def test_the_negotiated_protocol(self) -> None:
        self.connect()
        TlsClient(self.wire, protocols=[b"http/1.1", b"h2"]).shake()
        self.assertEqual(self.session.events[1], ("https", b"h2"))

    def test_a_failed_handshake(self) -> None:
        self.connect()
        self.wire.lose(ConnectionLost())
        self.assertEqual(self.session.events, [ConnectionLost])

    def test_keys(self) -> None:
        """The key that nearly every client accepts needs no preparation."""
        self.assertIsNone(self.interception.prepared(LeafKey.P256))
        self.assertIsNotNone(self.interception.prepared(LeafKey.RSA))

    def test_prepare(self) -> None:
        """The context is there when the handshake begins."""
        contexts = leaves()
        TlsIntercept(contexts, RoundRobin(self.clock)).prepare(AUTHORITY)
        self.assertEqual(len(contexts), 1)

    def test_prepare_fails(self) -> None:
        """The handshake reports the error."""
        interception = TlsIntercept(NoLeaves(), RoundRobin(self.clock))
        interception.prepare(AUTHORITY)
        self.assertRaises(AssertionError, interception.layer, AUTHORITY, LeafKey.P256, Handshake(self.session))

    def test_no_refusal(self) -> None:
        self.assertIsNone(self.interception.refusal(AUTHORITY))

    def test_malformed_messages(self) -> None:
        """OpenSSL handles malformed messages."""
        self.assertIs(parse_client_hello(b"\x16\x03\x01\x00\x05hello"), UNREADABLE)
        self.assertIsNone(parse_client_hello(b"\x16\x03\x01"))
