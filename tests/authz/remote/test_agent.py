"""Tests for L{egress.authz.remote.agent}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface.verify import verifyObject

from egress.authz.remote.agent import (
    MAX_BODY,
    MAX_CONNECTIONS,
    MAX_IDLE_SECONDS,
    MAX_WAITING,
    KeepAliveAgent,
    MalformedResponse,
    ResponseTooLarge,
    TooManyRequests,
    TruncatedResponse,
)
from egress.authz.remote.messages import BytesProducer
from tests.authz.servers import Endpoint, Transport, http, refused


class _Body(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class AgentTestCase(SynchronousTestCase):
    """Base: an agent, and a server in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.agent = KeepAliveAgent(self.clock, self.endpoint)

    def request(self, body: bytes = b"question") -> Deferred[Any]:
        return self.agent.request(
            b"POST", b"http://authz.test:81/a/validate", Headers({"X-One": ["1", "2"]}), BytesProducer(body)
        )

    def server(self) -> Transport:
        return self.endpoint.last


class RequestTests(AgentTestCase):
    """One request, one response."""

    def test_interfaces(self) -> None:
        verifyObject(IAgent, self.agent)
        call = self.request()
        self.server().answer(http(b"{}"))
        verifyObject(IResponse, self.successResultOf(call))

    def test_request(self) -> None:
        self.request()
        self.assertEqual(
            self.server().take(),
            b"POST /a/validate HTTP/1.1\r\nHost: authz.test:81\r\nX-One: 1\r\nX-One: 2\r\n"
            b"Accept-Encoding: identity\r\nContent-Length: 8\r\n\r\nquestion",
        )
        self.assertTrue(self.server().no_delay)

    def test_without_path_headers_and_content(self) -> None:
        self.agent.request(b"GET", b"http://authz.test")
        self.assertEqual(
            self.server().take(),
            b"GET / HTTP/1.1\r\nHost: authz.test\r\nAccept-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
        )

    def test_no_compression(self) -> None:
        self.agent.request(b"GET", b"http://authz.test/", Headers({"Accept-Encoding": ["gzip"]}))
        self.assertNotIn(b"gzip", self.server().take())

    def test_host_field_of_the_caller(self) -> None:
        self.agent.request(b"GET", b"http://authz.test/", Headers({"Host": ["other.test"]}))
        self.assertEqual(self.server().take().count(b"Host: "), 1)

    def test_responses(self) -> None:
        for name, data, expected in (
            ("length", http(b"answer"), b"answer"),
            ("empty", http(), b""),
            ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nanswer\r\n0\r\n\r\n", b"answer"),
            ("interim first", b"HTTP/1.1 100 Continue\r\n\r\n" + http(b"answer"), b"answer"),
        ):
            for pieces in ([data], [data[index : index + 1] for index in range(len(data))]):
                with self.subTest(name, pieces=len(pieces)):
                    call = self.request()
                    for piece in pieces:
                        self.server().answer(piece)
                    response = self.successResultOf(call)
                    body = _Body()
                    response.deliverBody(body)
                    self.assertEqual((response.code, body.data, response.length), (200, expected, len(expected)))
                    assert body.reason is not None
                    self.assertIsInstance(body.reason.value, ResponseDone)

    def test_response_in_pieces(self) -> None:
        call = self.request()
        self.server().answer(http(status=b"403 No", fields=b"A: b\r\nA: c\r\n"))
        response = self.successResultOf(call)
        self.assertEqual((response.version, response.code, response.phrase), ((b"HTTP", 1, 1), 403, b"No"))
        self.assertEqual(response.headers.getRawHeaders("a"), ["b", "c"])
        response.setPreviousResponse(response)
        self.assertIs(response.previousResponse, response)

    def test_until_close(self) -> None:
        call = self.request()
        self.server().answer(b"HTTP/1.0 200 OK\r\n\r\nanswer")
        self.assertNoResult(call)
        self.server().close()
        self.assertEqual(self.successResultOf(call).version, (b"HTTP", 1, 0))

    def test_until_close_must_end_cleanly(self) -> None:
        call = self.request()
        self.server().answer(b"HTTP/1.0 200 OK\r\n\r\nanswer")
        self.server().close(ConnectionLost())
        self.failureResultOf(call, TruncatedResponse)


class ErrorTests(AgentTestCase):
    """An invalid response is an error."""

    def test_invalid_responses(self) -> None:
        for name, data, error in (
            ("no HTTP", b"SSH-2.0", MalformedResponse),
            ("malformed chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", MalformedResponse),
            ("switches", b"HTTP/1.1 101 x\r\n\r\n", MalformedResponse),
            ("too large", http(b"x" * (MAX_BODY + 1)), ResponseTooLarge),
            ("announced too large", http(length=MAX_BODY + 1), ResponseTooLarge),
            (
                "too large in chunks",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n" + b"x" * 0x10001,
                ResponseTooLarge,
            ),
            ("compressed", http(b"x", fields=b"Content-Encoding: gzip\r\n"), MalformedResponse),
            ("compressed twice", http(b"x", fields=b"content-encoding: gzip, gzip\r\n"), MalformedResponse),
            ("head too large", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 20_000, MalformedResponse),
        ):
            with self.subTest(name):
                call = self.request()
                self.server().answer(data)
                self.failureResultOf(call, error)
                self.assertTrue(self.server().aborted)

    def test_truncated(self) -> None:
        for name, data in (
            ("before anything", b""),
            ("in the head", b"HTTP/1.1 200"),
            ("in the content", http(b"ans", length=6)),
            ("in the chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nanswer\r\n"),
        ):
            with self.subTest(name):
                call = self.request()
                if data:
                    self.server().answer(data)
                self.server().close()
                self.failureResultOf(call, TruncatedResponse)

    def test_other_reason(self) -> None:
        call = self.request()
        self.server().close(RuntimeError("TLS"))
        self.failureResultOf(call, RuntimeError)

    def test_refused(self) -> None:
        self.endpoint.failing = refused()
        self.failureResultOf(self.request(), ConnectRefused)

    def test_cancelling_drops_the_connection(self) -> None:
        call = self.request()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertTrue(self.server().aborted)
        self.server().close()


class KeepAliveTests(AgentTestCase):
    """Connections are reused, and only for valid responses."""

    def answered(self, data: bytes = b"") -> Transport:
        call = self.request()
        self.server().answer(data or http(b"{}"))
        self.successResultOf(call)
        return self.server()

    def test_reuse(self) -> None:
        for _ in range(3):
            self.answered()
        self.assertEqual(len(self.endpoint.connections), 1)

    def test_two_concurrent_requests(self) -> None:
        first, second = self.request(), self.request()
        self.assertEqual(len(self.endpoint.connections), 2)
        for connection in self.endpoint.connections:
            connection.answer(http(b"{}"))
        self.successResultOf(first)
        self.successResultOf(second)
        self.request()
        self.assertEqual(len(self.endpoint.connections), 2)

    def test_no_reuse(self) -> None:
        for name, data in (
            ("close", http(b"{}", fields=b"Connection: close\r\n")),
            ("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            ("bytes behind the answer", http(b"{}") + b"HTTP/1.1"),
        ):
            with self.subTest(name):
                before = len(self.endpoint.connections)
                transport = self.answered(data)
                self.assertTrue(transport.disconnecting)
                transport.close()
                self.answered()
                self.assertEqual(len(self.endpoint.connections), before + 2)
                self.setUp()

    def test_unexpected_bytes_close_an_idle_connection(self) -> None:
        transport = self.answered()
        transport.answer(http(b'{"allowed": true}'))
        self.assertTrue(transport.aborted)
        self.request()
        self.assertEqual(len(self.endpoint.connections), 2)

    def test_idle_connection_that_closes_is_removed(self) -> None:
        self.answered().close()
        self.request()
        self.assertEqual(len(self.endpoint.connections), 2)

    def test_stale_connection_is_replaced_once(self) -> None:
        self.answered()
        call = self.request()
        self.server().close()
        self.assertEqual(len(self.endpoint.connections), 2)
        self.assertIn(b"question", self.server().take())
        self.assertEqual(self.agent.retries, 1)
        self.server().close()
        self.failureResultOf(call, TruncatedResponse)
        self.assertEqual((len(self.endpoint.connections), self.agent.retries), (2, 1))

    def test_no_other_request_is_sent_twice(self) -> None:
        for name, kept, end, error in (
            ("a new connection", False, lambda server: server.close(), TruncatedResponse),
            ("an answer that has begun", True, lambda server: (server.answer(b"H"), server.close()), TruncatedResponse),
            ("an answer that is none", True, lambda server: server.answer(b"SSH-2.0"), MalformedResponse),
            ("silence", True, lambda server: None, CancelledError),
        ):
            with self.subTest(name):
                self.setUp()
                if kept:
                    self.answered()
                call = self.request()
                end(self.server())
                call.cancel()
                self.failureResultOf(call, error)
                self.assertEqual((len(self.endpoint.connections), self.agent.retries), (1, 0))

    def test_refused_connection_is_not_retried(self) -> None:
        self.answered()
        call = self.request()
        self.endpoint.failing = refused()
        self.server().close()
        self.failureResultOf(call, ConnectRefused)
        self.failureResultOf(self.request(), ConnectRefused)
        self.assertEqual(self.agent.retries, 1)

    def test_cancel_while_it_is_sent_again(self) -> None:
        self.answered()
        call = self.request()
        self.endpoint.slow = True
        self.server().close()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertEqual(self.endpoint.cancelled, 1)

    def test_reused_connection_that_breaks_later_is_not_replaced(self) -> None:
        self.answered()
        call = self.request()
        self.server().answer(b"HTTP/1.1 200")
        self.server().close()
        self.failureResultOf(call, TruncatedResponse)
        self.assertEqual(len(self.endpoint.connections), 1)

    def test_number_of_idle_connections(self) -> None:
        for _ in range(2):
            waiting = [self.request() for _ in range(MAX_CONNECTIONS)]
            for connection in self.endpoint.connections:
                connection.answer(http(b"{}"))
            for call in waiting:
                self.successResultOf(call)
            self.assertEqual(len(self.endpoint.connections), MAX_CONNECTIONS)

    def test_close(self) -> None:
        idle = self.answered()
        busy_answer = self.request()
        self.agent.close()
        self.assertFalse(idle.disconnecting)
        idle.answer(http(b"{}"))
        self.successResultOf(busy_answer)
        self.assertTrue(idle.disconnecting)

    def test_close_closes_idle_connections(self) -> None:
        idle = self.answered()
        self.agent.close()
        self.assertTrue(idle.disconnecting)

    def test_old_idle_connection_is_not_reused(self) -> None:
        for seconds, connections in ((MAX_IDLE_SECONDS - 1, 1), (MAX_IDLE_SECONDS, 2)):
            for use in (self.request, self.agent.probe):
                with self.subTest(use=use, seconds=seconds):
                    self.setUp()
                    old = self.answered()
                    self.clock.advance(seconds)
                    self.request() if use == self.request else self.agent.probe()
                    self.assertEqual(len(self.endpoint.connections), connections)
                    self.assertEqual(old.disconnecting, connections == 2)

    def test_probe_does_not_extend_the_idle_time(self) -> None:
        self.answered()
        self.clock.advance(MAX_IDLE_SECONDS - 1)
        self.agent.probe()
        self.clock.advance(1)
        self.request()
        self.assertEqual(len(self.endpoint.connections), 2)

    def test_probe(self) -> None:
        self.successResultOf(self.agent.probe())
        self.successResultOf(self.agent.probe())
        self.request()
        self.assertEqual(len(self.endpoint.connections), 1)
        self.setUp()
        self.endpoint.failing = refused()
        self.failureResultOf(self.agent.probe(), ConnectRefused)

    def test_transport_without_tcp(self) -> None:
        self.successResultOf(self.agent.probe())
        protocol = self.server().protocol.__class__(self.agent)
        protocol.makeConnection(StringTransport())
        protocol.connectionLost(Failure(ConnectionDone()))


class QueueTests(AgentTestCase):
    """The limit of connections, and the queue."""

    def fill(self) -> list[Deferred[Any]]:
        call = [self.request() for _ in range(MAX_CONNECTIONS)]
        self.assertEqual(len(self.endpoint.connections), MAX_CONNECTIONS)
        return call

    def test_request_waits_for_a_connection(self) -> None:
        self.fill()
        first, second = self.request(b"first"), self.request(b"second")
        self.assertEqual(len(self.endpoint.connections), MAX_CONNECTIONS)
        connection = self.endpoint.connections[3]
        for call, content in ((first, b"first"), (second, b"second")):
            connection.take()
            connection.answer(http(b"{}"))
            self.assertTrue(connection.take().endswith(content))
            self.assertNoResult(call)
        connection.answer(http(b"{}"))
        self.successResultOf(first)
        self.successResultOf(second)

    def test_closed_connection_frees_capacity(self) -> None:
        for name, end in (
            ("lost", lambda connection: connection.close()),
            ("closed by the answer", lambda connection: connection.answer(http(fields=b"Connection: close\r\n"))),
            ("malformed answer", lambda connection: connection.answer(b"SSH-2.0")),
        ):
            with self.subTest(name):
                self.setUp()
                call = self.fill()[0].addErrback(lambda _: None)
                self.request(b"next")
                end(self.endpoint.connections[0])
                self.successResultOf(call)
                self.assertEqual(len(self.endpoint.connections), MAX_CONNECTIONS + 1)
                self.assertTrue(self.server().take().endswith(b"next"))

    def test_cancelled_request_frees_capacity(self) -> None:
        call = self.fill()
        self.request(b"next")
        call[0].cancel()
        self.failureResultOf(call[0], CancelledError)
        self.assertTrue(self.server().take().endswith(b"next"))

    def test_cancel_in_the_queue(self) -> None:
        self.fill()
        first, second = self.request(b"first"), self.request(b"second")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        connection = self.endpoint.connections[0]
        connection.take()
        connection.answer(http())
        self.assertTrue(connection.take().endswith(b"second"))
        self.assertNoResult(second)

    def test_connecting_counts(self) -> None:
        self.endpoint.slow = True
        call = [self.request() for _ in range(MAX_CONNECTIONS + 1)]
        self.assertEqual(len(self.endpoint.waiting), MAX_CONNECTIONS)
        call[0].cancel()
        self.failureResultOf(call[0], CancelledError)
        self.assertEqual(len(self.endpoint.waiting), MAX_CONNECTIONS + 1)

    def test_queue_fails_when_the_server_is_gone(self) -> None:
        self.endpoint.slow = True
        call = [self.request() for _ in range(MAX_CONNECTIONS + MAX_WAITING)]
        self.endpoint.slow = False
        self.endpoint.failing = refused()
        # Each request in the queue tries to connect, without recursion.
        self.endpoint.waiting[0].errback(refused())
        failed = [one for one in call if one.called]
        self.assertEqual(len(failed), 1 + MAX_WAITING)
        for one in failed:
            self.failureResultOf(one, ConnectRefused)

    def test_limit_of_connections(self) -> None:
        self.agent = KeepAliveAgent(self.clock, self.endpoint, connections=2)
        call = [self.request() for _ in range(3)]
        self.assertEqual(len(self.endpoint.connections), 2)
        self.endpoint.connections[0].answer(http())
        self.endpoint.connections[0].answer(http())
        self.successResultOf(call[2])

    def test_the_queue_is_bounded(self) -> None:
        self.fill()
        waiting = [self.request() for _ in range(MAX_WAITING)]
        self.failureResultOf(self.request(), TooManyRequests)
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.assertNoResult(self.request())


class TlsTests(AgentTestCase):
    """Over TLS nothing is sent before the handshake."""

    def setUp(self) -> None:
        super().setUp()
        self.agent = KeepAliveAgent(self.clock, self.endpoint, over_tls=True)

    def shaken(self) -> Transport:
        self.server().protocol.handshakeCompleted()
        return self.server()

    def test_interface(self) -> None:
        self.request()
        verifyObject(IHandshakeListener, self.server().protocol)

    def test_request_waits_for_the_handshake(self) -> None:
        call = self.request()
        self.assertEqual(self.server().take(), b"")
        self.shaken()
        self.assertTrue(self.server().take().endswith(b"question"))
        self.server().answer(http())
        self.successResultOf(call)

    def test_probe_waits_for_the_handshake(self) -> None:
        reached = self.agent.probe()
        self.assertNoResult(reached)
        self.shaken()
        self.successResultOf(reached)

    def test_failed_handshake(self) -> None:
        for use in (self.request, self.agent.probe):
            with self.subTest(use=use):
                call: Deferred[Any] = use()
                self.server().close(RuntimeError("TLS"))
                self.failureResultOf(call, RuntimeError)
                self.assertEqual(self.server().take(), b"")

    def test_handshake_that_is_reported_after_a_rejected_certificate(self) -> None:
        call = self.request()
        self.server().disconnecting = True
        self.shaken()
        self.assertEqual(self.server().take(), b"")
        self.server().close(RuntimeError("TLS"))
        self.failureResultOf(call, RuntimeError)

    def test_cancelled_in_the_handshake(self) -> None:
        call = self.request()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertTrue(self.server().aborted)
        self.shaken()
        self.server().close()
        self.assertEqual(self.server().take(), b"")

    def test_close_does_not_wait(self) -> None:
        call = self.request()
        self.shaken().answer(http(fields=b"Connection: close\r\n"))
        self.successResultOf(call)
        self.assertTrue(self.server().aborted)
