"""Tests for L{egress.proxy.grpc_outcome}: gRPC calls over HTTP/1, in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.framing import Frame
from egress.model.errors import AuthorizerUnavailable, BadRequest, ClientDisconnected
from egress.model.grpc_result import GrpcResult
from egress.proxy.grpc_outcome import response_status, result_of
from tests.proxy.fakes import ProxyTestCase, content_of, deny, request, status_of

PATH = "/users.v1.Users/Delete"
URL = f"http://origin.test{PATH}"
GRPC = "Content-Type: application/grpc"
FIELDS = ((b"Content-Type", b"application/grpc"),)
MESSAGE = Frame(b"message").encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(MESSAGE), MESSAGE)


class ResultTests(SynchronousTestCase):
    """The call and its status in audit records."""

    def test_status_of_the_origin(self) -> None:
        for response, status in (
            ((), None),
            (((b"A", b"0"),), None),
            (((b"Grpc-Status", b"0"),), "OK"),
            (((b"grpc-status", b"99"),), None),
            (((b"grpc-status", b"0"), (b"grpc-status", b"5")), "NOT_FOUND"),
        ):
            found = result_of("POST", PATH, FIELDS, None, response)
            self.assertEqual(found, GrpcResult("users.v1.Users", "Delete", status))

    def test_status_of_an_error(self) -> None:
        found = result_of("POST", PATH, FIELDS, BadRequest("no"), ((b"grpc-status", b"0"),))
        self.assertEqual(found, GrpcResult("users.v1.Users", "Delete", "INVALID_ARGUMENT"))

    def test_other_requests(self) -> None:
        self.assertIsNone(result_of("POST", "/", FIELDS))
        self.assertIsNone(result_of("POST", PATH, ()))

    def test_status_codes(self) -> None:
        self.assertEqual(response_status(BadRequest("no"), "POST", FIELDS), 200)
        self.assertEqual(response_status(BadRequest("no"), "POST", ()), 400)
        self.assertIsNone(response_status(ClientDisconnected("no"), "POST", FIELDS))


class CallTests(ProxyTestCase):
    """Calls through the proxy."""

    def call(self, *fields: str) -> None:
        """Send a call with one message."""
        self.client.feed(request("POST", URL, *(fields or (GRPC,)), body=MESSAGE))

    def grpc(self) -> GrpcResult | None:
        """The call in the last record."""
        return self.records[-1].grpc

    def test_trailers_pass(self) -> None:
        self.call(GRPC, "TE: trailers", "Connection: TE", "grpc-timeout: 5S")
        forwarded = self.origin.take()
        self.assertIn(b"\r\nTE: trailers\r\n", forwarded)
        self.assertIn(b"\r\ngrpc-timeout: 5S\r\n", forwarded)
        self.assertEqual(content_of(forwarded), MESSAGE)
        self.origin.feed(HEAD + CHUNK + b"0\r\ngrpc-status: 5\r\ngrpc-message: no\r\n\r\n")
        answer = content_of(self.client.take())
        self.assertEqual(answer, CHUNK + b"0\r\ngrpc-status: 5\r\ngrpc-message: no\r\n\r\n")
        self.assertEqual(self.grpc(), GrpcResult("users.v1.Users", "Delete", "NOT_FOUND"))
        self.assertEqual(self.records[-1].status, 200)

    def test_trailers_only(self) -> None:
        self.call()
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\ngrpc-status: 0\r\n\r\n")
        self.assertEqual(self.grpc(), GrpcResult("users.v1.Users", "Delete", "OK"))

    def test_denial(self) -> None:
        self.authorizer.answers.append(deny("users are not deleted"))
        self.call()
        answer = self.client.take()
        self.assertEqual(status_of(answer), 200)
        self.assertIn(b"\r\ngrpc-status: 7\r\ngrpc-message: users are not deleted\r\n", answer)
        self.assertEqual(self.dialer.origins, [])
        self.assertEqual(self.grpc(), GrpcResult("users.v1.Users", "Delete", "PERMISSION_DENIED"))
        self.assertEqual((self.records[-1].status, self.records[-1].outcome), (200, "denied"))
        # The connection persists.
        self.call()
        self.assertEqual(len(self.dialer.origins), 1)

    def test_denial_of_web(self) -> None:
        self.authorizer.answers.append(deny())
        self.call("Content-Type: application/grpc-web+proto")
        answer = self.client.take()
        self.assertIn(b"\r\nContent-Type: application/grpc-web\r\n", answer)
        self.assertTrue(content_of(answer).startswith(b"\x80\0\0"))

    def test_authorizer_unavailable(self) -> None:
        self.authorizer.answers.append(AuthorizerUnavailable("no response"))
        self.call()
        self.assertIn(b"\r\ngrpc-status: 14\r\n", self.client.take())
        self.assertEqual(self.dialer.origins, [])

    def test_bad_request(self) -> None:
        self.client.feed(request("POST", PATH, GRPC))
        self.assertIn(b"\r\ngrpc-status: 3\r\n", self.client.take())
        self.assertEqual(self.records[-1].status, 200)

    def test_lease_that_ends_during_a_stream(self) -> None:
        self.allow_with(max_bytes=len(MESSAGE) * 2)
        self.call()
        self.origin.feed(HEAD + CHUNK)
        self.assertEqual(content_of(self.client.take()), CHUNK)
        self.origin.feed(CHUNK)
        end = self.client.take()
        self.assertTrue(end.startswith(b"0\r\ngrpc-status: 8\r\ngrpc-message: "), end)
        self.assertTrue(end.endswith(b"\r\n\r\n"))
        self.assertEqual(self.grpc(), GrpcResult("users.v1.Users", "Delete", "RESOURCE_EXHAUSTED"))
        self.assertTrue(self.origin.disconnected)
        # The whole request was read, so the connection persists.
        self.assertFalse(self.client.disconnected)

    def test_origin_that_disconnects_during_a_stream(self) -> None:
        self.call()
        self.origin.feed(HEAD + CHUNK)
        self.client.take()
        self.origin.lose()
        self.assertTrue(self.client.take().startswith(b"0\r\ngrpc-status: 14\r\n"))

    def test_web_that_ends_during_a_stream(self) -> None:
        # The trailers would have to be at the boundary of a message, which the proxy does not know.
        self.call("Content-Type: application/grpc-web")
        self.origin.feed(HEAD + CHUNK)
        self.client.take()
        self.origin.lose()
        self.assertEqual(self.client.take(), b"")
        self.assertTrue(self.client.aborted)

    def test_response_with_a_length(self) -> None:
        self.call()
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        self.client.take()
        self.origin.lose()
        self.assertEqual(self.client.take(), b"")
        self.assertTrue(self.client.aborted)

    def test_client_that_does_not_read(self) -> None:
        self.call()
        self.origin.feed(HEAD + CHUNK)
        self.client.take()
        self.client.choke()
        self.clock.advance(4000)
        self.assertEqual(self.client.take(), b"")
        self.assertEqual(self.outcomes(), ["client-disconnected"])
