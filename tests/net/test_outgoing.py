"""Tests for L{egress.net.outgoing}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin, UpstreamProxy
from egress.model.decision import NO_TERMS, ClientIdentity, Terms
from egress.net.outgoing import OutgoingHead
from egress.wire.heads import HeadLimits, RequestHead
from egress.wire.http1 import RequestReader

CLIENT = ClientIdentity("198.51.100.7", 40000)
ORIGIN = Origin("http", Authority("origin.test", 80))


class OutgoingHeadTests(SynchronousTestCase):
    """What is asked about, what goes out, and over which connections."""

    def setUp(self) -> None:
        reader = RequestReader(HeadLimits(1000, 10, 100))
        reader.receive(b"GET http://origin.test/a HTTP/1.1\r\nHost: origin.test\r\nX-A: 1\r\n\r\n")
        head = reader.next_event()
        assert isinstance(head, RequestHead)
        self.outgoing = OutgoingHead(head, CLIENT, ORIGIN, "/a")

    def encoded(self) -> bytes:
        return self.outgoing.encode(None)

    def test_as_it_came(self) -> None:
        self.assertEqual(self.outgoing.asked, ((b"Host", b"origin.test"), (b"X-A", b"1")))
        plain = b"GET /a HTTP/1.1\r\nHost: origin.test\r\nX-A: 1\r\nVia: 1.1 egressproxy\r\n\r\n"
        self.assertEqual(self.encoded(), plain)
        self.outgoing.take(NO_TERMS)
        self.assertEqual((self.encoded(), self.outgoing.key), (plain, (CLIENT.pool_key, ORIGIN)))

    def test_for_an_upstream_proxy(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic eA==")
        encoded = self.outgoing.encode(upstream)
        self.assertTrue(encoded.startswith(b"GET http://origin.test/a HTTP/1.1\r\n"))
        self.assertIn(b"Proxy-Authorization: Basic eA==\r\n", encoded)

    def test_terms(self) -> None:
        plain, key = self.encoded(), self.outgoing.key
        self.outgoing.take(Terms(set_headers=((b"X-A", b"2"),)))
        self.assertIn(b"Host: origin.test\r\nX-A: 2\r\nVia", self.encoded())
        self.assertNotEqual(self.outgoing.key, key)
        self.outgoing.take(Terms(remove_headers=(b"x-a",), max_bytes=1))
        self.assertNotIn(b"X-A", self.encoded())
        self.assertEqual(self.outgoing.key, key)
        self.outgoing.take(NO_TERMS)
        self.assertEqual((self.encoded(), self.outgoing.key), (plain, key))
        self.assertEqual(self.outgoing.asked[1], (b"X-A", b"1"))
