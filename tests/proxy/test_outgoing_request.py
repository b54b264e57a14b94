"""Tests for L{egress.proxy.outgoing_request}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import HTTP_2, RequestHead
from egress.http.heads import HeadLimits
from egress.http.readers import RequestReader
from egress.http.request_target import RequestTarget, TargetForm, parse_request_target
from egress.http.writers import encode_request
from egress.model.authority import DEFAULT_PORTS, Authority, Origin, UpstreamProxy
from egress.model.decision import NO_OBLIGATIONS, ClientIdentity, Obligations
from egress.model.route import Route
from egress.proxy.outgoing_request import OutgoingRequest

CLIENT = ClientIdentity("198.51.100.7", 40000)
ORIGIN = Origin("http", Authority("origin.test", 80))


class OutgoingRequestTests(SynchronousTestCase):
    """The fields for the authorizer, the encoded head, and the key of the pool."""

    def setUp(self) -> None:
        reader = RequestReader(HeadLimits(1000, 10, 100))
        reader.receive(b"GET http://origin.test/a HTTP/1.1\r\nHost: origin.test\r\nX-A: 1\r\n\r\n")
        head = reader.next_event()
        assert isinstance(head, RequestHead)
        self.outgoing = OutgoingRequest(head, CLIENT, ORIGIN, parse_request_target("GET", head.target))

    def encoded(self) -> bytes:
        return encode_request(self.outgoing.forwarded_head(None))

    def test_unchanged(self) -> None:
        self.assertEqual(self.outgoing.fields_for_authorizer, ((b"Host", b"origin.test"), (b"X-A", b"1")))
        plain = b"GET /a HTTP/1.1\r\nHost: origin.test\r\nX-A: 1\r\nVia: 1.1 egressproxy\r\n\r\n"
        self.assertEqual(self.encoded(), plain)
        self.outgoing.take(NO_OBLIGATIONS)
        self.assertEqual((self.encoded(), self.outgoing.key), (plain, (CLIENT.pool_key, ORIGIN)))

    def test_for_an_upstream_proxy(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic eA==")
        encoded = encode_request(self.outgoing.forwarded_head(upstream))
        self.assertTrue(encoded.startswith(b"GET http://origin.test/a HTTP/1.1\r\n"))
        self.assertIn(b"Proxy-Authorization: Basic eA==\r\n", encoded)

    def test_in_advance(self) -> None:
        """A decision can change what was made in advance, and each attempt has a head of its own."""
        plain, route = self.encoded(), Route(ORIGIN, (), None, tls=False, connect=False)
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        for known in (None, Route(ORIGIN, (), upstream, tls=False, connect=False)):
            self.outgoing.prepare(known)
            self.assertIsNone(self.outgoing.forwarded_head(None).encoded)
        self.outgoing.prepare(route)
        head = self.outgoing.forwarded_head(None)
        self.assertEqual((head.encoded, encode_request(head)), (plain, plain))
        again = self.outgoing.forwarded_head(None)
        self.assertEqual((again, again.encoded), (head, None))
        self.outgoing.prepare(route)
        self.outgoing.take(Obligations(set_headers=((b"X-A", b"2"),)))
        self.assertIn(b"\r\nX-A: 2\r\n", self.encoded())
        self.outgoing.prepare(route)
        self.outgoing.propagate(((b"traceparent", b"00-1-2-01"),))
        self.assertIn(b"\r\ntraceparent: 00-1-2-01\r\n", self.encoded())

    def test_in_advance_for_http2(self) -> None:
        """An origin of a client with HTTP/2 may use HTTP/2, too."""
        self.outgoing = OutgoingRequest(
            attrs.evolve(self.outgoing.head, version=HTTP_2), CLIENT, ORIGIN, RequestTarget(TargetForm.ORIGIN, "/a")
        )
        self.outgoing.prepare(Route(ORIGIN, (), None, tls=False, connect=False))
        head = self.outgoing.forwarded_head(None)
        self.assertEqual((head.target, head.encoded), (b"/a", None))

    def made(self, target: bytes, host: bytes, origin: Origin = ORIGIN, method: str = "GET") -> OutgoingRequest:
        reader = RequestReader(HeadLimits(1000, 10, 100))
        reader.receive(b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method.encode(), target, host))
        head = reader.next_event()
        assert isinstance(head, RequestHead)
        return OutgoingRequest(head, CLIENT, origin, parse_request_target(method, target, DEFAULT_PORTS))

    def test_the_target_is_sent_byte_for_byte(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        for path in (b'/s?re=\\d+&"<>^`{|}', b"/\xe4\xff%e4", "/ä€".encode(), b"/?\xff@", b"/a@b"):
            with self.subTest(path):
                outgoing = self.made(b"http://u:p@origin.test" + path, b"origin.test")
                self.assertEqual(encode_request(outgoing.forwarded_head(None)).split(b" ")[1], path)
                self.assertEqual(
                    encode_request(outgoing.forwarded_head(upstream)).split(b" ")[1], b"http://origin.test" + path
                )
        outgoing = self.made(b"http://origin.test", b"origin.test", method="OPTIONS")
        self.assertEqual(encode_request(outgoing.forwarded_head(None)).split(b" ")[1], b"*")
        self.assertEqual(encode_request(outgoing.forwarded_head(upstream)).split(b" ")[1], b"http://origin.test")

    def test_host_keeps_its_spelling(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128))
        outgoing = self.made(b"http://origin.test/", b"Origin.TEST:80")
        self.assertEqual(outgoing.fields_for_authorizer, ((b"Host", b"origin.test"),))
        self.assertIn(b"\r\nHost: Origin.TEST:80\r\nVia", encode_request(outgoing.forwarded_head(None)))
        self.assertIn(b"\r\nHost: origin.test\r\nVia", encode_request(outgoing.forwarded_head(upstream)))
        self.assertEqual(outgoing.key, self.outgoing.key)
        outgoing.take(Obligations(set_headers=((b"X-A", b"2"),)))
        self.assertIn(b"\r\nHost: Origin.TEST:80\r\nX-A: 2\r\nVia", encode_request(outgoing.forwarded_head(None)))
        other = self.made(b"http://origin.test/", b"other.test")
        self.assertIn(b"\r\nHost: origin.test\r\n", encode_request(other.forwarded_head(None)))

    def test_trace(self) -> None:
        reader = RequestReader(HeadLimits(1000, 10, 100))
        sent = b"TraceParent: theirs\r\nX-A: 1\r\nTRACESTATE: a=1\r\ntracestate: b=1\r\n"
        reader.receive(b"GET http://origin.test/a HTTP/1.1\r\nHost: origin.test\r\n%b\r\n" % sent)
        head = reader.next_event()
        assert isinstance(head, RequestHead)
        self.outgoing = OutgoingRequest(head, CLIENT, ORIGIN, parse_request_target("GET", head.target))
        self.outgoing.propagate(())
        self.assertIn(sent, self.encoded())
        for value in (b"ours", b"ours of the second attempt"):
            self.outgoing.propagate(((b"traceparent", value),))
            self.assertIn(b"Host: origin.test\r\nX-A: 1\r\ntraceparent: %b\r\nVia" % value, self.encoded())
        self.assertIn((b"TraceParent", b"theirs"), self.outgoing.fields_for_authorizer)

    def test_trace_and_obligations(self) -> None:
        """A decision about C{traceparent} takes precedence."""
        for obligations, expected in (
            (Obligations(set_headers=((b"Traceparent", b"of the policy"),)), b"Traceparent: of the policy\r\n"),
            (Obligations(remove_headers=(b"traceparent",)), b""),
        ):
            self.outgoing.take(obligations)
            self.outgoing.propagate(((b"traceparent", b"ours"),))
            self.assertIn(b"X-A: 1\r\n" + expected + b"Via", self.encoded())

    def test_obligations(self) -> None:
        plain, key = self.encoded(), self.outgoing.key
        self.outgoing.take(Obligations(set_headers=((b"X-A", b"2"),)))
        self.assertIn(b"Host: origin.test\r\nX-A: 2\r\nVia", self.encoded())
        self.assertNotEqual(self.outgoing.key, key)
        self.outgoing.take(Obligations(remove_headers=(b"x-a",), max_bytes=1))
        self.assertNotIn(b"X-A", self.encoded())
        self.assertEqual(self.outgoing.key, key)
        self.outgoing.take(NO_OBLIGATIONS)
        self.assertEqual((self.encoded(), self.outgoing.key), (plain, key))
        self.assertEqual(self.outgoing.fields_for_authorizer[1], (b"X-A", b"1"))
