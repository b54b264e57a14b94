"""Tests for L{egress.proxy.http1_stream}; the tests of the session and the forwarder cover it end to end."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.http.events import UNTIL_CLOSE, BodyKind, Framing, RequestHead, ResponseHead
from egress.http.heads import HeadLimits, parse_request_head
from egress.http.upgrade import Upgrade
from egress.model.errors import BadRequest, ClientDisconnected, EgressError
from egress.proxy.http1_stream import Http1Stream
from egress.proxy.interfaces import IClientStream, IHttp1Connection
from egress.transport.tcp import SharedTransport
from egress.upstream.authenticated_connections import AuthenticatedConnections
from tests.proxy.fakes import Proxy, content_of, status_of

GET = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"


def head(framing: Framing, status: int = 200) -> ResponseHead:
    """A response head without fields."""
    return ResponseHead(status, b"OK", b"1.1", (), framing, True, frozenset())


@implementer(IHttp1Connection)
class Connection:
    """The client connection of a stream.

    @ivar written: the data that the stream wrote.
    @ivar calls: the other calls.
    """

    def __init__(self) -> None:
        self.written = b""
        self.calls: list[object] = []
        self.transport: object = "transport"
        self.logins = AuthenticatedConnections(Proxy().pool, print)
        self.backpressured = True
        self.persistent = True
        self.read = True

    def may_keep_alive(self, head: RequestHead) -> bool:
        return head.keep_alive and self.persistent

    def request_over(self, head: RequestHead) -> bool:
        return self.read

    def watch(self, seconds: float | None) -> None:
        self.calls.append(seconds)

    def unwatch(self) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        self.written += data

    def advance(self) -> None:
        self.calls.append("advance")

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def relay(self) -> None:
        self.calls.append("relay")

    def response_over(self, head: RequestHead, *, keep_alive: bool) -> None:
        self.calls.append(("over", keep_alive))

    def close(self) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        self.calls.append("abort")


class Http1StreamTests(SynchronousTestCase):
    """One exchange of an HTTP/1 connection."""

    def setUp(self) -> None:
        self.build()

    def build(self, request: bytes = GET) -> None:
        """Create a stream for a request."""
        self.connection = Connection()
        parsed = parse_request_head(request, HeadLimits(1000, 10, 100))
        self.stream = Http1Stream(self.connection, Proxy().parts, parsed)

    def test_interface(self) -> None:
        verifyObject(IClientStream, self.stream)
        self.assertEqual((self.stream.backpressured, self.stream.logins), (True, self.connection.logins))
        self.assertEqual(self.stream.transport, "transport")
        self.connection.transport = SharedTransport("below")  # type: ignore[arg-type]
        self.assertEqual(self.stream.transport, "below")

    def respond(self, framing: Framing, *, last: bool = False) -> bytes:
        """Send a response with content and trailers."""
        self.stream.send_head(head(framing), last=last)
        self.assertEqual(self.connection.written, b"")
        self.stream.send_data(b"abc")
        self.stream.send_end(((b"X", b"y"),))
        self.stream.flush()
        self.stream.flush()
        self.stream.finish()
        return content_of(self.connection.written)

    def test_content_of_known_length(self) -> None:
        self.assertEqual(self.respond(Framing(BodyKind.LENGTH, 3)), b"abc")
        self.assertEqual(self.connection.calls, [("over", True)])

    def test_content_that_ends_with_the_origin_connection(self) -> None:
        self.assertEqual(self.respond(UNTIL_CLOSE), b"3\r\nabc\r\n0\r\nX: y\r\n\r\n")
        self.assertEqual(self.connection.calls, [("over", True)])

    def test_the_same_for_http10(self) -> None:
        self.build(GET.replace(b"1.1", b"1.0"))
        self.assertEqual(self.respond(UNTIL_CLOSE), b"abc")
        self.assertEqual(self.connection.calls, [("over", False)])

    def test_the_last_response(self) -> None:
        self.respond(Framing(BodyKind.LENGTH, 3), last=True)
        self.assertIn(b"\r\nConnection: close\r\n", self.connection.written)
        self.assertEqual(self.connection.calls, [("over", False)])

    def test_interim_responses(self) -> None:
        self.stream.send_continue()
        self.stream.send_interim(head(Framing(BodyKind.NONE), 103))
        self.assertEqual(self.connection.written, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 OK\r\n\r\n")

    def failed(self, error: EgressError) -> list[object]:
        """Fail the exchange, and return the calls."""
        self.stream.fail(error, "id-1")
        return self.connection.calls

    def test_an_error_response(self) -> None:
        self.assertEqual(self.failed(BadRequest("no")), [("over", True)])
        self.assertEqual(status_of(self.connection.written), 400)
        self.assertIn(b'"decisionId": "id-1"', self.connection.written)

    def test_an_error_response_to_an_unread_request(self) -> None:
        self.connection.read = False
        self.assertEqual(self.failed(BadRequest("no")), [("over", False)])
        self.assertIn(b"\r\nConnection: close\r\n", self.connection.written)

    def test_an_error_response_to_head(self) -> None:
        self.build(GET.replace(b"GET", b"HEAD"))
        self.failed(BadRequest("no"))
        self.assertEqual(content_of(self.connection.written), b"")

    def test_an_error_response_to_grpc(self) -> None:
        self.build(GET.replace(b"GET", b"POST")[:-2] + b"Content-Type: application/grpc\r\n\r\n")
        self.failed(BadRequest("no"))
        self.assertEqual(status_of(self.connection.written), 200)
        self.assertIn(b"\r\ngrpc-status: 3\r\n", self.connection.written)

    def test_trailers_are_possible_after_the_head_of_a_chunked_response(self) -> None:
        self.assertFalse(self.stream.can_send_trailers)
        self.stream.send_head(head(Framing(BodyKind.LENGTH, 3)), last=False)
        self.assertFalse(self.stream.can_send_trailers)
        self.stream.send_head(head(UNTIL_CLOSE), last=False)
        self.assertTrue(self.stream.can_send_trailers)

    def test_an_error_without_a_response(self) -> None:
        self.assertEqual(self.failed(ClientDisconnected("gone")), ["abort"])
        self.assertEqual(self.connection.written, b"")

    def test_upgrade(self) -> None:
        self.stream.switch(head(Framing(BodyKind.NONE), 101), Upgrade(b"tcp"))
        self.assertIn(b"\r\nUpgrade: tcp\r\n", self.connection.written)
        self.connection.written = b""
        self.stream.relay()
        self.stream.send_data(b"raw")
        self.stream.flush()
        self.stream.pause()
        self.stream.resume()
        self.stream.watch(5.0)
        self.stream.read_content()
        self.stream.reset()
        self.assertEqual(self.connection.written, b"raw")
        self.assertEqual(self.connection.calls, ["relay", "pause", "resume", 5.0, "advance", "abort"])
