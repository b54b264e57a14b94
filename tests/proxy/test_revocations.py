"""Tests for L{egress.proxy.revocations}: what a revocation ends, for each kind of running request and tunnel."""

from __future__ import annotations

import json

from h2.errors import ErrorCodes
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.decision import ClientIdentity, Decision, Verdict
from egress.model.message import MessageObligation
from egress.proxy.inspecting_forwarder import PARTING_SECONDS
from egress.proxy.revocations import MAX_RECENT, Revocations
from tests.messages.frames import frame
from tests.proxy.fakes import (
    SWITCH,
    UPGRADE,
    ProxyTestCase,
    allow,
    allow_with,
    content_of,
    deny,
    request,
    response,
    status_of,
)
from tests.proxy.http2_client import Http2TestCase
from tests.proxy.http2_listener import Http2ListenerTestCase
from tests.proxy.revoking import revocation, revoke
from tests.proxy.test_socks_session import SocksTestCase
from tests.proxy.test_transparent import TransparentTestCase
from tests.proxy.tunnels import connect
from tests.transport.tls import TlsClient, leaves

CLIENT = ClientIdentity("198.51.100.7", 40000)
HOST = Authority("origin.test", 80)


class InFlightTests(SynchronousTestCase):
    """Decisions that arrive after a revocation."""

    def test_later_revocations_matter(self) -> None:
        revocations = Revocations()

        def void(since: int, rule_id: str | None = "r1") -> bool:
            return revocations.void(since, CLIENT, HOST, rule_id, "id-1")

        self.assertFalse(void(0))
        revocations.add(revocation("rule", "r1"))
        revocations.add(revocation("rule", "r2"))
        self.assertEqual([void(0), void(1), void(2)], [True, False, False])
        self.assertEqual([void(0, "r2"), void(1, "r2"), void(2, "r2")], [True, True, False])
        self.assertFalse(void(0, None))

    def test_too_many(self) -> None:
        """More revocations than are stored void every decision."""
        revocations = Revocations()
        for number in range(MAX_RECENT + 1):
            revocations.add(revocation("rule", f"r{number}"))
        self.assertTrue(revocations.void(0, CLIENT, HOST, "other", "id-1"))
        self.assertFalse(revocations.void(1, CLIENT, HOST, "other", "id-1"))


class RequestTests(ProxyTestCase):
    """Requests over HTTP/1.1."""

    def begin(self) -> None:
        """Begin a response that does not end."""
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        self.assertIn(b"hello", self.client.take())

    def test_a_response_that_streams(self) -> None:
        self.begin()
        counts = revoke(self.proxy)
        self.assertEqual((counts.cached, counts.grants, counts.tunnels, counts.requests), (3, 1, 0, 1))
        self.assertTrue(self.client.aborted)
        self.assertTrue(self.origin.aborted)
        (record,) = self.records
        self.assertEqual(
            (record.verdict, record.outcome, record.status, record.rule_id), ("allow", "revoked", 200, "rule-1")
        )
        self.assertIn("an administrator revoked", record.reason)
        self.assertEqual(record.bytes_received, 5)
        self.assertEqual(revoke(self.proxy).requests, 0, "it has ended")

    def test_only_what_matches(self) -> None:
        self.begin()
        for kind, value in (("client", "x"), ("host", "*.origin.test"), ("rule", "rule-2"), ("decision", "id-2")):
            self.assertEqual(revoke(self.proxy, kind, value).requests, 0)
        self.assertFalse(self.client.aborted)
        self.assertEqual(revoke(self.proxy, "decision", "id-1").requests, 1)
        for kind, value in (("client", "198.51.100.7"), ("host", "origin.test"), ("rule", "rule-1")):
            self.client = self.connect()
            self.begin()
            self.assertEqual(revoke(self.proxy, kind, value).requests, 1)
            self.assertTrue(self.client.aborted)

    def test_a_request_that_connects(self) -> None:
        """The client gets a response, and its next request is authorized."""
        dialing = self.dialer.pending(self.dialer.dials)
        self.client.feed(request())
        self.assertEqual(revoke(self.proxy).requests, 1)
        answer = self.client.take()
        self.assertEqual((status_of(answer), json.loads(content_of(answer))["stage"]), (403, "revocation"))
        self.assertEqual(self.outcomes(), ["revoked"])
        self.assertTrue(dialing.called, "it was cancelled")
        self.client.feed(request())
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertEqual(len(self.authorizer.asked), 2)

    def test_a_decision_in_flight(self) -> None:
        """It is discarded, and requested again."""
        first, second = self.authorizer.pending(), self.authorizer.pending()
        self.client.feed(request())
        self.assertEqual(revoke(self.proxy, "rule", "rule-1").requests, 0)
        first.callback(allow())
        self.assertEqual((len(self.authorizer.asked), self.dialer.dialled), (2, []))
        self.assertEqual(self.authorizer.asked[0], self.authorizer.asked[1])
        second.callback(deny())
        self.assertEqual(status_of(self.client.take()), 403)
        self.assertEqual(self.outcomes(), ["denied"])

    def test_another_decision_in_flight(self) -> None:
        pending = self.authorizer.pending()
        self.client.feed(request())
        revoke(self.proxy, "rule", "rule-9")
        pending.callback(allow())
        self.origin.feed(response())
        self.assertEqual((status_of(self.client.take()), len(self.authorizer.asked)), (200, 1))

    def test_two_revocations_of_a_decision_in_flight(self) -> None:
        first, second = self.authorizer.pending(), self.authorizer.pending()
        self.client.feed(request())
        revoke(self.proxy)
        first.callback(allow())
        revoke(self.proxy)
        second.callback(allow())
        self.assertEqual(status_of(self.client.take()), 403)
        self.assertEqual((self.outcomes(), self.dialer.dialled), (["revoked"], []))

    def test_before_the_decision(self) -> None:
        """A request whose content is still read has no decision."""
        self.authorizer.needs_body = False
        self.authorizer.answers = [Decision(Verdict.NEED_BODY, "content", "script")]
        self.client.feed(b"POST http://origin.test/a HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 5\r\n\r\n")
        self.assertEqual(revoke(self.proxy).requests, 0)
        self.client.feed(b"hello")
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_idle(self) -> None:
        self.use_once()
        self.assertEqual(revoke(self.proxy).requests, 0)
        self.assertFalse(self.client.disconnecting)

    def test_a_renewed_lease(self) -> None:
        """The rule of the latest decision counts."""
        self.authorizer.answers = [allow_with(expires_in=10), Decision(Verdict.ALLOW, "ok", "script", "rule-7")]
        self.begin()
        self.assertEqual(revoke(self.proxy, "rule", "rule-7").requests, 0)
        self.clock.advance(10)
        self.assertEqual(revoke(self.proxy, "rule", "rule-1").requests, 0)
        self.assertEqual(revoke(self.proxy, "rule", "rule-7").requests, 1)

    def test_a_renewal_in_flight(self) -> None:
        self.authorizer.answers = [allow_with(expires_in=10)]
        first, second = self.authorizer.pending(), self.authorizer.pending()
        self.begin()
        self.clock.advance(10)
        revoke(self.proxy, "rule", "rule-7")
        first.callback(Decision(Verdict.ALLOW, "ok", "script", "rule-7"))
        self.assertEqual(len(self.authorizer.asked), 3)
        second.callback(deny("no longer"))
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["lease-revoked"])


class UpgradeTests(ProxyTestCase):
    """WebSockets."""

    def open(self) -> None:
        self.client.feed(request("GET", "http://origin.test/chat", *UPGRADE))
        self.origin.feed(SWITCH)
        self.assertEqual(status_of(self.client.take()), 101)
        self.origin.take()

    def test_a_websocket(self) -> None:
        """The proxy does not read its frames, so it can add none."""
        self.open()
        self.origin.feed(frame(b"hello"))
        self.client.take()
        self.assertEqual(revoke(self.proxy).requests, 1)
        self.assertTrue(self.client.aborted)
        self.assertTrue(self.origin.aborted)
        self.assertEqual([(one.outcome, one.status) for one in self.records], [("revoked", 101)])

    def test_a_websocket_whose_messages_are_authorized(self) -> None:
        self.allow_with(messages=MessageObligation())
        self.open()
        self.assertEqual(revoke(self.proxy).requests, 1)
        sent = self.client.take()
        self.assertEqual((sent[0], sent[2:4]), (0x88, (1008).to_bytes(2, "big")))
        self.assertTrue(self.client.write_closed or self.client.disconnecting)
        self.assertEqual(self.origin.take()[0], 0x88)
        self.assertEqual(self.outcomes(), ["revoked"])
        self.clock.advance(PARTING_SECONDS)

    def test_a_message_in_flight(self) -> None:
        """Its decision is discarded, and requested again."""
        self.allow_with(messages=MessageObligation())
        self.open()
        first, second = self.authorizer.pending(), self.authorizer.pending()
        self.origin.feed(frame(b"hello"))
        self.assertEqual(revoke(self.proxy, "rule", "rule-7").requests, 0)
        first.callback(Decision(Verdict.ALLOW, "ok", "script", "rule-7"))
        self.assertEqual(self.client.take(), b"")
        revoke(self.proxy, "rule", "rule-7")
        second.callback(Decision(Verdict.ALLOW, "ok", "script", "rule-8"))
        self.assertEqual(self.client.take(), frame(b"hello"))
        self.assertEqual(len(self.authorizer.asked), 3)

    def test_an_event_stream_whose_messages_are_authorized(self) -> None:
        self.allow_with(messages=MessageObligation())
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n")
        self.client.take()
        self.assertEqual(revoke(self.proxy).requests, 1)
        self.assertIn(b": an administrator revoked", self.client.take())
        self.assertEqual(self.outcomes(), ["revoked"])

    def test_an_exchange_without_messages(self) -> None:
        """Nothing of it is read, although its messages would be."""
        self.allow_with(messages=MessageObligation())
        self.client.feed(request())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        self.assertEqual(revoke(self.proxy).requests, 1)
        self.assertTrue(self.client.aborted)


class PassthroughTests(ProxyTestCase):
    """Tunnels that are relayed."""

    def setUp(self) -> None:
        self.build(leaves=leaves(), passthrough=("origin.test",))

    def test_a_relayed_tunnel(self) -> None:
        self.client.feed(connect())
        self.client.take()
        self.client.feed(b"ping")
        self.assertEqual(self.origin.take(), b"ping")
        self.assertEqual(revoke(self.proxy, "host", "other.test").tunnels, 0)
        counts = revoke(self.proxy, "host", "origin.test")
        self.assertEqual((counts.tunnels, counts.requests), (1, 0))
        self.assertTrue(self.client.aborted)
        self.assertTrue(self.origin.aborted)
        (record,) = self.records
        self.assertEqual((record.stage, record.verdict, record.outcome), ("tunnel", "allow", "revoked"))
        self.assertEqual((record.status, record.bytes_sent), (200, 4))

    def test_a_tunnel_that_connects(self) -> None:
        """The client can read the reason inside the tunnel."""
        self.dialer.pending(self.dialer.dials)
        self.client.feed(connect())
        self.assertEqual(revoke(self.proxy).tunnels, 1)
        self.client.take()
        tls = TlsClient(self.client, "origin.test").shake()
        tls.send(request("GET", "/a"))
        self.assertEqual(status_of(tls.take()), 403)
        self.assertEqual(self.outcomes(), ["revoked"])
        self.assertEqual(revoke(self.proxy).tunnels, 0)

    def test_a_decision_in_flight(self) -> None:
        first: Deferred[Decision] = self.authorizer.pending()
        self.client.feed(connect())
        self.assertEqual(revoke(self.proxy).tunnels, 0)
        first.callback(allow())
        self.assertEqual(len(self.authorizer.asked), 2)
        self.client.take()
        self.client.feed(b"ping")
        self.assertEqual(self.origin.take(), b"ping")


class SocksTunnelTests(SocksTestCase):
    """Tunnels of SOCKS5 clients."""

    def test_a_relayed_tunnel(self) -> None:
        self.build(leaves=leaves(), passthrough=("origin.test",))
        self.tunnel()
        self.client.feed(b"ping")
        self.assertEqual(self.origin.take(), b"ping")
        self.assertEqual(revoke(self.proxy, "host", "origin.test:443").tunnels, 1)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["revoked"])


class TransparentTunnelTests(TransparentTestCase):
    """Tunnels of transparent listeners."""

    def test_a_relayed_tunnel(self) -> None:
        self.build(leaves=leaves(), opaque_ports=(range(22, 23),))
        client = self.redirected(port=22)
        client.feed(b"ping")
        self.assertEqual(self.origin.take(), b"ping")
        self.assertEqual(revoke(self.proxy, "host", "203.0.113.9").tunnels, 1)
        self.assertTrue(client.aborted)
        self.assertEqual(self.outcomes(), ["revoked"])


class InterceptedTests(Http2TestCase):
    """HTTP/2 inside an intercepted tunnel."""

    def test_streams(self) -> None:
        """Matching streams are reset; the connection and other streams continue."""
        one, two = self.http2.request("/one"), self.http2.request("/two")
        for origin in self.dialer.origins:
            origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        self.clock.advance(0)
        self.assertEqual(revoke(self.proxy, "decision", self.authorizer.asked[0].request_id).requests, 1)
        self.clock.advance(0)
        self.http2.read()
        self.assertEqual((self.http2.reset(one), self.http2.reset(two)), (ErrorCodes.INTERNAL_ERROR, None))
        self.assertEqual(self.outcomes(), ["revoked"])
        three = self.http2.request("/three")
        self.origin.feed(response())
        self.clock.advance(0)
        self.http2.read()
        self.assertEqual(self.http2.status(three), 200)
        self.assertEqual(revoke(self.proxy).requests, 1)

    def test_a_grpc_call(self) -> None:
        """It ends with a status."""
        self.authorizer.needs_body = False
        self.dialer.http2 = True
        fields = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
        pseudo = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"origin.test"), (b":path", b"/s/m")]
        self.http2.send([*pseudo, *fields], 1, end=False)
        self.http2.data(1, b"\0\0\0\0\1x")
        counts = revoke(self.proxy)
        self.clock.advance(0)
        self.http2.read()
        self.assertEqual(counts.requests, 1)
        self.assertEqual(self.http2.fields(1)[b"grpc-status"], b"7")
        self.assertEqual(self.outcomes(), ["revoked"])


class ConnectStreamTests(Http2ListenerTestCase):
    """Tunnels in streams of HTTP/2."""

    def test_a_relayed_tunnel(self) -> None:
        self.rebuild(passthrough=("origin.test",))
        wire, other = self.tunnel(), self.connect_stream("other.test:443")
        wire.feed(b"ping")
        self.assertEqual(self.origin.take(), b"ping")
        self.assertEqual(revoke(self.proxy).tunnels, 1)
        self.clock.advance(0)
        self.assertIsNotNone(wire.code)
        self.http2.read()
        self.assertIsNone(self.http2.reset(other))
        self.assertEqual(self.outcomes(), ["revoked"])
        self.assertEqual(revoke(self.proxy).tunnels, 0)
