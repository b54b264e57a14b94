"""Tests for L{egress.proxy.grpc_streams}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits
from egress.grpc.framing import Frame
from egress.http.heads import HeadLimits, parse_request_head
from egress.model.decision import Decision, Stage, Verdict
from egress.model.message import Direction, MessageObligation
from egress.proxy.grpc_streams import response_timeout
from tests.proxy.fakes import ProxyTestCase, deny, request

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


class CollectionTests(ProxyTestCase):
    """The content of streams before the decision."""

    def test_a_stream_is_not_collected(self) -> None:
        """An authorizer that needs all content would wait for messages that the client sends after the response."""
        self.client.feed(request("POST", "http://origin.test/a.B/C", GRPC, "Transfer-Encoding: chunked"))
        (asked,) = self.authorizer.asked
        self.assertEqual((asked.body, asked.body_withheld, asked.content_length), (None, True, None))
        self.origin.take()
        self.client.feed(self.chunk(b"one"))
        self.assertEqual(self.origin.take(), self.chunk(b"one"))
        message = self.authorizer.asked[1]
        self.assertEqual((message.stage, message.body), (Stage.MESSAGE, b"one"))
        # The messages of the origin pass.
        self.origin.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + self.chunk(b"two"))
        self.assertTrue(self.client.take().endswith(self.chunk(b"two")))
        self.assertEqual(len(self.authorizer.asked), 2)

    @staticmethod
    def chunk(message: bytes) -> bytes:
        """A message in one chunk."""
        data = Frame(message).encode()
        return b"%x\r\n%b\r\n" % (len(data), data)

    def test_no_content_evades_an_authorizer_that_needs_it(self) -> None:
        """Content that is not gRPC is rejected, and each message is authorized, whatever the obligations are."""
        self.client.feed(request("POST", "http://origin.test/a.B/C", GRPC, "Transfer-Encoding: chunked"))
        self.client.feed(b"6\r\nsecret\r\n")
        self.assertNotIn(b"secret", self.origin.take())
        self.assertEqual(self.outcomes(), ["message-invalid"])
        self.client = self.connect()
        self.allow_with(messages=MessageObligation(frozenset({Direction.ORIGIN})))
        self.authorizer.answers.append(deny())
        self.client.feed(request("POST", "http://origin.test/a.B/C", GRPC, "Transfer-Encoding: chunked"))
        self.client.feed(self.chunk(b"secret"))
        self.assertNotIn(b"secret", self.origin.take())
        self.assertIn(b"\r\ngrpc-status: 7\r\n", self.client.take())

    def test_an_authorizer_that_does_not_need_content(self) -> None:
        self.authorizer.needs_body = False
        self.client.feed(request("POST", "http://origin.test/a.B/C", GRPC, "Transfer-Encoding: chunked"))
        self.client.feed(self.chunk(b"one"))
        self.assertTrue(self.origin.take().endswith(self.chunk(b"one")))
        self.assertEqual(len(self.authorizer.asked), 1)

    def test_content_on_demand(self) -> None:
        self.authorizer.answers.append(Decision(Verdict.NEED_BODY, "content, please", "script"))
        self.client.feed(request("POST", "http://origin.test/a.B/C", GRPC, "Transfer-Encoding: chunked"))
        self.client.feed(b"1\r\na\r\n0\r\n\r\n")
        self.assertEqual([asked.body for asked in self.authorizer.asked], [None, b"a"])

    def test_content_with_a_length(self) -> None:
        self.client.feed(request("POST", "http://origin.test/a.B/C", GRPC, body=b"a"))
        self.client.feed(request("POST", "http://origin.test/a.B/C", "Transfer-Encoding: chunked"))
        self.assertEqual([asked.body for asked in self.authorizer.asked], [b"a"])

    def test_web(self) -> None:
        """Browsers do not stream to servers."""
        fields = ("Content-Type: application/grpc-web", "Transfer-Encoding: chunked")
        self.client.feed(request("POST", "http://origin.test/a.B/C", *fields))
        self.assertEqual(self.authorizer.asked, [])


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
