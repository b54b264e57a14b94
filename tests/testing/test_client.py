"""Tests for L{egress.testing.client}."""

from __future__ import annotations

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from egress.testing.client import ClientResponse, MemoryClient
from egress.testing.proxy import MemoryProxy
from egress.testing.reactor import MemoryReactor
from tests.testing.test_transport import Recorder


class ServerTests(SynchronousTestCase):
    """The client of a server that a test controls."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.servers: list[Recorder] = []

        def protocol() -> Recorder:
            self.servers.append(Recorder())
            return self.servers[-1]

        self.reactor.listenTCP(80, Factory.forProtocol(protocol))
        self.client = MemoryClient(self.reactor, 80)

    def respond(self, data: bytes, *, close: bool = False) -> None:
        self.servers[-1].transport.write(data)  # type: ignore[union-attr]
        if close:
            self.servers[-1].transport.loseConnection()  # type: ignore[union-attr]
        self.reactor.settle()

    def test_requests(self) -> None:
        """Requests to the proxy, and to the listener itself."""
        self.client.send("GET", "http://a.test:81/b?c")
        self.assertEqual(self.servers[0].data, b"GET http://a.test:81/b?c HTTP/1.1\r\nHost: a.test:81\r\n\r\n")
        self.client.send("PUT", "/x", {"Host": "b.test", "A": "é"}, b"hi")
        self.assertEqual(
            self.servers[1].data, b"PUT /x HTTP/1.1\r\nHost: b.test\r\nA: \xe9\r\nContent-Length: 2\r\n\r\nhi"
        )
        self.client.send("GET", "https://a.test/", {"Proxy-Authorization": "x", "B": "c"})
        self.assertEqual(
            self.servers[2].data, b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Authorization: x\r\n\r\n"
        )

    def test_responses(self) -> None:
        pending = self.client.send("GET", "http://a.test/")
        self.assertFalse(pending.is_over)
        self.assertIn("no response yet", str(self.assertRaises(AssertionError, pending.result)))
        self.respond(b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 4\r\n\r\n[")
        self.assertFalse(pending.is_over)
        self.respond(b"1 ]")
        self.assertEqual((pending.result().json(), pending.result().field("x-a")), ([1], "b"))
        self.assertFalse(pending.step())
        pending = self.client.send("GET", "http://a.test/")
        self.respond(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", close=True)
        self.assertEqual(pending.result().body, b"until the end")
        pending = self.client.send("GET", "http://a.test/")
        self.respond(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        self.assertEqual(pending.result().status, 101)

    def test_failures(self) -> None:
        pending = self.client.send("GET", "http://a.test/")
        self.respond(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", close=True)
        self.assertIn("before its response was complete", str(self.assertRaises(AssertionError, pending.result)))
        pending = self.client.send("GET", "https://a.test/")
        self.respond(b"HTTP/1.1 200 OK\r\n\r\n")
        self.respond(b"no TLS at all")
        self.assertIn("the TLS handshake with the proxy failed", pending.failure or "")
        pending = self.client.send("GET", "https://a.test/")
        self.respond(b"HTTP/1.1 200 OK\r\n\r\n")
        self.servers[-1].transport.abortConnection()  # type: ignore[union-attr]
        self.reactor.settle()
        self.assertIsNotNone(pending.failure)

    def test_connect_refused(self) -> None:
        """The response to a CONNECT is the response to the request."""
        pending = self.client.send("GET", "https://a.test/")
        self.respond(b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno")
        self.assertEqual(pending.result(), ClientResponse(407, ((b"Content-Length", b"2"),), b"no"))

    def test_disconnect(self) -> None:
        pending = self.client.send("GET", "http://a.test/")
        pending.disconnect()
        self.assertEqual(pending.failure, "the client disconnected")
        self.assertEqual(len(self.servers[0].lost), 1)


class TlsTests(SynchronousTestCase):
    """The client verifies the certificates of the proxy."""

    def test_trust(self) -> None:
        with MemoryProxy() as proxy:
            proxy.origin("a.test")
            self.assertEqual(proxy.client().request("GET", "https://a.test/").body, b"hello")
            pending = proxy.client(trusting=False).send("GET", "https://a.test/")
            self.assertIn("certificate verify failed", pending.failure or "")
            self.assertEqual(proxy.records[-1].outcome, "client-tls-failed")
