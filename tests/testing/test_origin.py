"""Tests for L{egress.testing.origin}."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.testing.origin import MemoryOrigin, OriginRequest, OriginResponse, field
from egress.testing.origin_ca import OriginCa
from egress.testing.transport import MemoryTransport
from tests.testing.test_transport import Recorder


class FieldTests(SynchronousTestCase):
    """Header fields by name."""

    def test_field(self) -> None:
        headers = ((b"X-A", b"1"), (b"x-a", b"2"))
        self.assertEqual((field(headers, "X-a"), field(headers, "b")), ("1, 2", None))


class MemoryOriginTests(SynchronousTestCase):
    """It parses requests, and responds."""

    def setUp(self) -> None:
        self.origin = MemoryOrigin()
        self.client = Recorder()
        self.transport = MemoryTransport(Clock()).connect(self.client)
        self.connection = self.origin.accept(self.transport)

    def send(self, data: bytes) -> bytes:
        """Write as the client, and return the data that it received."""
        self.transport.write(data)
        self.connection.step()
        received, self.client.data = self.client.data, b""
        return received

    def test_requests(self) -> None:
        self.assertFalse(self.connection.step())
        first = self.send(b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nX-Y: z\r\n\r\n")
        self.assertEqual(first, b"HTTP/1.1 200 Status\r\nContent-Length: 5\r\n\r\nhello")
        self.origin.respond = lambda request: OriginResponse(request.body, 201, ((b"X-Is", b"echo"),))
        self.assertEqual(self.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab"), b"")
        self.assertEqual(self.send(b"cd"), b"HTTP/1.1 201 Status\r\nX-Is: echo\r\nContent-Length: 4\r\n\r\nabcd")
        one, other = self.origin.requests
        self.assertEqual(one, OriginRequest("GET", "/a?b", one.headers, b"", False))
        self.assertEqual((one.field("x-y"), other.body, self.origin.connections), ("z", b"abcd", 1))

    def test_special_responses(self) -> None:
        self.assertTrue(self.send(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n").endswith(b"Length: 5\r\n\r\n"))
        expects = b"PUT / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        self.assertEqual(self.send(expects), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_later(self) -> None:
        """A response can wait; if the client has left, it is discarded."""
        waiting: list[Deferred[OriginResponse]] = []

        def respond(request: OriginRequest) -> Deferred[OriginResponse]:
            waiting.append(Deferred())
            return waiting[-1]

        self.origin.respond = respond
        self.assertEqual(self.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n" * 2), b"")
        waiting[0].callback(OriginResponse(b"late"))
        self.assertTrue(self.client.data.endswith(b"late"))
        self.transport.lose()
        waiting[1].callback(OriginResponse(b"too late"))
        self.assertTrue(self.client.data.endswith(b"late"))
        self.assertFalse(self.connection.step())

    def test_failure(self) -> None:
        """An exception is logged, so that the test fails, and the client gets 500."""
        self.origin.respond = lambda request: {}[0]  # type: ignore[index]
        self.assertTrue(self.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").startswith(b"HTTP/1.1 500"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_no_tls(self) -> None:
        """A client without TLS gets nothing from an origin with TLS."""
        self.connection = self.origin.accept(self.transport, OriginCa().context(Authority("a.test", 443)))
        self.assertFalse(self.connection.step())
        self.send(b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(self.origin.requests, [])
        self.assertFalse(self.connection.step())
