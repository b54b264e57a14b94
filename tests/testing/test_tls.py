"""Tests for L{egress.testing.tls}."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.testing.origin_ca import OriginCa
from egress.testing.tls import TlsEnd


class Loop:
    """The bytes below two ends: what one writes, the other takes."""

    def __init__(self) -> None:
        self.other: Loop | None = None
        self.waiting = b""

    def feed(self, data: bytes) -> None:
        assert self.other is not None
        self.other.waiting += data

    def take(self) -> bytes:
        data, self.waiting = self.waiting, b""
        return data


class TlsEndTests(SynchronousTestCase):
    """Two ends, which complete a handshake in turns."""

    def setUp(self) -> None:
        one, other = Loop(), Loop()
        one.other, other.other = other, one
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client, server = (
            SSL.Connection(context, None),
            SSL.Connection(OriginCa().context(Authority("a.test", 443)), None),
        )
        client.set_connect_state()
        server.set_accept_state()
        self.client, self.server = TlsEnd(one, client), TlsEnd(other, server)

    def test_handshake(self) -> None:
        self.assertRaises(AssertionError, self.client.shake)
        self.assertEqual(self.client.moved, 1)
        self.assertFalse(self.server.try_handshake())
        self.assertTrue(self.client.try_handshake())
        self.assertTrue(self.server.try_handshake())
        data = bytes(100_000)
        self.client.send(data)
        self.assertEqual(self.server.take(), data)
        self.server.feed(b"hello")
        self.assertEqual(self.client.take(), b"hello")
        self.server.close()
        self.assertTrue(self.client.read().closed)

    def test_no_tls(self) -> None:
        self.client.wire.feed(b"GET / HTTP/1.1\r\n\r\n")
        self.assertRaises(SSL.Error, self.server.shake)
