"""Tests for L{egress.proxy.connect_tunnel}."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from egress.config.model import Resolve
from egress.model.authority import Authority, Origin
from egress.model.decision import Stage
from egress.model.errors import AddressForbidden, AuthorizerUnavailable, OriginUnreachable
from egress.model.route import Purpose
from egress.proxy import factory
from egress.proxy.connect_tunnel import Tunnel
from egress.proxy.session_state import FIRST_REQUEST_SECONDS
from egress.proxy.tunnel_replies import ESTABLISHED
from egress.tls.host_contexts import HostContexts
from egress.tls.issuer import CertificateAuthority
from egress.tls.name_constraints import name_constraints
from tests.proxy.fakes import (
    LOCAL,
    SWITCH,
    UPGRADE,
    ProxyTestCase,
    Wire,
    allow,
    broken,
    content_of,
    deny,
    request,
    response,
    session_of,
    status_of,
)
from tests.proxy.tunnels import InterceptTestCase, connect, inner
from tests.threads import Later
from tests.transport.tls import TlsClient, leaves

ORIGIN = Origin("https", Authority("origin.test", 443))


class TlsTests(InterceptTestCase):
    """TLS inside a CONNECT is intercepted."""

    def test_requests_are_authorized_and_forwarded(self) -> None:
        tls = self.intercept()
        self.assertEqual(self.authorizer.asked, [], "there is no request yet")
        for path in ("/a", "/b"):
            tls.send(inner(path))
            self.origin.feed(response(path.encode()))
            self.assertEqual(content_of(tls.take()), path.encode())
        self.assertEqual(
            [asked.url for asked in self.authorizer.asked], ["https://origin.test/a", "https://origin.test/b"]
        )
        self.assertEqual([asked.stage for asked in self.authorizer.asked], [Stage.REQUEST] * 2)
        self.assertEqual(self.dialer.checked, [(ORIGIN, Purpose.REQUEST)])
        self.assertTrue(self.dialer.dialled[0].tls)
        self.assertIn(b"Host: origin.test\r\n", self.origin.take())
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"], "the tunnel itself is not recorded")

    def test_an_idle_tunnel_takes_little_memory(self) -> None:
        """The session outside has released what it does not need any more, and its timer."""
        tls = self.intercept()
        tls.send(inner())
        self.origin.feed(response())
        self.assertEqual(status_of(tls.take()), 200)
        outside = session_of(self.client)
        for name in ("logins", "_client_auth", "_reader"):
            self.assertFalse(hasattr(outside, name), name)
        # The second one is of the pool.
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)

    def test_a_denial_is_sent_inside_the_tunnel(self) -> None:
        tls = self.intercept()
        self.authorizer.answers = [deny("because")]
        answer = tls.send(inner()).take()
        self.assertEqual((status_of(answer), json.loads(content_of(answer))["reason"]), (403, "because"))
        tls.send(inner())
        self.origin.feed(response())
        self.assertEqual(status_of(tls.take()), 200)

    def test_the_certificate_is_made_before_the_hello(self) -> None:
        self.assertEqual(len(self.proxy.leaves), 0)
        self.tunnel()
        self.assertEqual(len(self.proxy.leaves), 1)

    def test_the_hello_may_come_with_the_connect(self) -> None:
        tls = TlsClient(self.client)
        self.client.feed(connect() + tls.hello())
        answer = self.client.take()
        self.assertTrue(answer.startswith(ESTABLISHED))
        tls.connection.bio_write(answer[len(ESTABLISHED) :])
        tls.shake().send(inner())
        self.origin.feed(response())
        self.assertEqual(status_of(tls.take()), 200)

    def test_the_hello_may_come_byte_by_byte(self) -> None:
        self.tunnel()
        tls = TlsClient(self.client)
        for byte in tls.hello():
            self.client.feed(bytes([byte]))
        tls.connection.bio_write(self.client.take())
        tls.shake().send(inner())
        self.origin.feed(response())
        self.assertEqual(status_of(tls.take()), 200)

    def test_without_a_server_name_the_leaf_is_that_of_the_connect(self) -> None:
        tls = self.intercept("192.0.2.9:8443", None)
        tls.send(inner(host="192.0.2.9:8443"))
        self.origin.feed(response())
        self.assertEqual(status_of(tls.take()), 200)
        self.assertEqual(self.authorizer.asked[0].url, "https://192.0.2.9:8443/a")

    def test_another_server_name_is_refused(self) -> None:
        tls = self.intercept(server_name="other.test")
        answer = tls.send(inner()).take()
        self.assertEqual((status_of(answer), self.outcomes()), (421, ["server-name-mismatch"]))
        self.assertEqual((self.authorizer.asked, self.dialer.checked), ([], []))
        self.assertEqual(self.records[0].url, "https://origin.test/a")

    def test_another_host_is_refused(self) -> None:
        tls = self.intercept()
        for host in ("other.test", "origin.test:444"):
            answer = tls.send(inner(host=host)).take()
            self.assertEqual(status_of(answer), 421)
        self.assertEqual(self.outcomes(), ["misdirected-request"] * 2)
        self.assertEqual(self.authorizer.asked, [])
        self.assertEqual(status_of(tls.send(inner("http://origin.test/")).take()), 421)

    def test_a_tunnel_inside_a_tunnel_is_refused(self) -> None:
        tls = self.intercept()
        self.assertEqual(status_of(tls.send(connect()).take()), 400)

    def test_a_client_that_does_not_trust_the_ca(self) -> None:
        self.tunnel()
        self.assertRaises(SSL.Error, TlsClient(self.client, trusting=False).shake)
        self.clock.advance(0)
        (record,) = self.records
        self.assertEqual(
            (record.outcome, record.method, record.url, record.status),
            ("client-tls-failed", "CONNECT", "https://origin.test", 200),
        )
        self.assertIn("with the alert unknown_ca; check that this client trusts the proxy's CA.", record.reason)
        self.assertIn("--passthrough origin.test", record.reason)
        self.assertTrue(self.client.disconnected)

    def test_a_malformed_hello(self) -> None:
        self.tunnel()
        self.client.feed(b"\x16\x03\x01\x00\x05hello" + b"\x00" * 50)
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-tls-failed"])
        self.assertTrue(self.client.disconnected)

    def test_a_client_that_disconnects_during_the_handshake(self) -> None:
        self.tunnel()
        self.client.feed(TlsClient(self.client).hello())
        self.client.lose(ConnectionLost())
        self.assertEqual(self.outcomes(), ["client-tls-failed"])

    def test_a_handshake_that_takes_too_long(self) -> None:
        self.tunnel()
        self.client.feed(TlsClient(self.client).hello())
        self.clock.advance(15)
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-tls-failed"])
        self.assertTrue(self.client.aborted)

    def test_a_ca_that_cannot_sign(self) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("expired")

        for early in (False, True):
            with self.subTest(early=early):
                self.build(leaves=leaves())
                self.patch(self.proxy.leaves, "context_for", broken)
                hello = TlsClient(self.client).hello()
                if early:
                    self.client.feed(connect() + hello)
                else:
                    self.tunnel()
                    self.client.feed(hello)
                self.assertTrue(self.client.disconnected)
                self.assertEqual(self.outcomes(), ["internal-error"])
                self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_the_client_closes(self) -> None:
        tls = self.intercept()
        tls.send(inner())
        tls.close()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["client-disconnected"])

    def test_the_proxy_closes(self) -> None:
        tls = self.intercept()
        tls.send(inner("/a", "Connection: close"))
        self.origin.feed(response())
        self.assertIn(b"Connection: close", tls.take())
        self.assertTrue(tls.closed)
        tls.send(b"x" * 1000)
        tls.close()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)

    def test_a_client_without_a_closing_alert_is_aborted(self) -> None:
        tls = self.intercept()
        tls.send(inner("/a", "Connection: close"))
        self.origin.feed(response())
        self.clock.advance(75)
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)

    def test_an_abort_sends_no_closing_alert(self) -> None:
        # A 1.0 client treats the closing alert as the end of the content.
        tls = self.intercept()
        tls.send(request("GET", "/a", version="1.0"))
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\nabc")
        self.assertEqual(content_of(tls.take()), b"abc")
        self.origin.lose(ConnectionLost())
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)
        self.assertFalse(tls.read().closed)
        self.assertEqual(self.outcomes(), ["origin-disconnected"])

    def test_an_idle_session(self) -> None:
        tls = self.intercept()
        self.clock.advance(30)
        self.assertTrue(tls.read().closed)

    def test_the_tcp_connection_half_closes(self) -> None:
        tls = self.intercept()
        tls.send(inner())
        self.client.end()
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["client-disconnected"])

    def test_backpressure(self) -> None:
        tls = self.intercept()
        tls.send(inner())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        self.assert_backpressure(self.client, self.origin)
        self.origin.feed(b"def")
        self.assertEqual(content_of(tls.take()), b"abcdef")

    def test_content_causes_backpressure(self) -> None:
        self.authorizer.needs_body = False
        self.dialer.high_water = 100
        tls = self.intercept()
        tls.send(inner(method="POST", body=b"x" * 1000)[:-500])
        tls.send(b"y" * 100)
        self.assertTrue(self.client.paused)
        self.origin.unchoke()
        self.assertFalse(self.client.paused)
        self.assertTrue(self.origin.take().endswith(b"x" + b"y" * 100))

    def test_an_upgrade(self) -> None:
        tls = self.intercept()
        tls.send(inner("/ws", *UPGRADE))
        self.origin.feed(SWITCH + b"hi")
        self.assertEqual(content_of(tls.take()), b"hi")
        self.origin.take()
        tls.send(b"ho")
        self.assertEqual(self.origin.take(), b"ho")

    def test_a_shutdown(self) -> None:
        tls = self.intercept()
        drained = self.proxy.parts.sessions.drain()
        self.assertFalse(tls.read().closed, "the first request may be on the way")
        self.clock.advance(FIRST_REQUEST_SECONDS)
        self.assertTrue(tls.read().closed)
        self.proxy.parts.sessions.abort()
        self.clock.advance(0)
        self.successResultOf(drained)


class PlainTests(InterceptTestCase):
    """Plain HTTP inside a CONNECT is authorized like any other HTTP."""

    def setUp(self) -> None:
        super().setUp()
        self.tunnel("origin.test:80")

    def test_requests(self) -> None:
        for path in ("/a", "/b"):
            self.client.feed(inner(path))
            self.origin.feed(response(path.encode()))
            self.assertEqual(content_of(self.client.take()), path.encode())
        self.assertEqual(
            [asked.url for asked in self.authorizer.asked], ["http://origin.test/a", "http://origin.test/b"]
        )
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])

    def test_another_host(self) -> None:
        self.client.feed(inner(host="other.test"))
        self.assertEqual((status_of(self.client.take()), self.outcomes()), (421, ["misdirected-request"]))
        self.client.feed(inner("http://other.test/"))
        self.assertEqual(status_of(self.client.take()), 421)
        self.assertEqual(self.authorizer.asked, [])

    def test_a_method_in_two_parts(self) -> None:
        data = inner()
        self.client.feed(data[:2])
        self.assertEqual(self.records, [])
        self.client.feed(data[2:])
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_closing(self) -> None:
        self.client.feed(inner("/a", "Connection: close"))
        self.origin.feed(response())
        self.assertTrue(self.client.disconnected)
        self.assertFalse(self.client.aborted)

    def test_half_close(self) -> None:
        self.client.feed(inner())
        self.client.end()
        self.origin.feed(response(b"late"))
        self.assertEqual(content_of(self.client.take()), b"late")
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_backpressure(self) -> None:
        self.client.feed(inner())
        self.origin.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        self.assert_backpressure(self.client, self.origin)
        self.origin.feed(b"def")

    def test_pipelined(self) -> None:
        self.client.feed(inner("/a") + inner("/b"))
        self.origin.feed(response(b"one"))
        self.origin.feed(response(b"two"))
        self.assertEqual(self.outcomes(), ["forwarded", "forwarded"])


class UnknownProtocolTests(InterceptTestCase):
    """Other protocols are rejected."""

    def test_neither_tls_nor_http(self) -> None:
        self.tunnel("origin.test:22")
        self.client.feed(b"SSH-2.0-OpenSSH_9.6\r\n")
        (record,) = self.records
        self.assertEqual(
            (record.outcome, record.verdict, record.url),
            ("tunnel-protocol-unknown", "rejected", "https://origin.test:22"),
        )
        self.assertTrue(self.client.aborted)
        self.assertEqual((self.authorizer.asked, self.dialer.checked), ([], []))

    def test_no_data(self) -> None:
        self.tunnel()
        self.clock.advance(15)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["tunnel-without-request"])

    def test_the_client_disconnects(self) -> None:
        self.tunnel()
        self.client.lose()
        self.assertEqual(self.outcomes(), ["tunnel-without-request"])

    def test_the_client_disconnects_inside_a_message(self) -> None:
        """Inside a method, and inside the first TLS message."""
        self.tunnel()
        self.client.feed(b"GE")
        self.client.lose()
        self.build(leaves=leaves())
        self.tunnel()
        self.client.feed(TlsClient(self.client).hello()[:-1])
        self.client.lose(ConnectionLost())
        self.assertEqual(self.outcomes(), ["client-tls-failed"])

    def test_an_incomplete_hello_times_out(self) -> None:
        self.tunnel()
        self.client.feed(TlsClient(self.client).hello()[:-1])
        self.clock.advance(15)
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-tls-failed"])
        self.assertTrue(self.client.aborted)

    def test_the_client_half_closes(self) -> None:
        self.tunnel()
        self.client.end()
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["tunnel-without-request"])

    def test_a_connect_after_a_request(self) -> None:
        self.client.feed(request() + connect("origin.test:80") + inner())
        self.origin.feed(response(b"one"))
        self.origin.feed(response(b"two"))
        answers = self.client.take()
        self.assertIn(b"one" + ESTABLISHED, answers)
        self.assertTrue(answers.endswith(b"two"))

    def test_an_invalid_transition_is_an_error(self) -> None:
        opened = self.record_instances(factory, Tunnel)
        self.client = self.connect()
        self.tunnel()
        (tunnel,) = opened
        tunnel.pauseProducing()
        tunnel.resumeProducing()
        tunnel.stopProducing()
        tunnel.writeConnectionLost()
        self.assertRaises(AssertionError, tunnel.begin, b"")


class NameConstraintTests(ProxyTestCase):
    """Hosts for which the CA may not sign: no response is possible inside the tunnel, so the CONNECT gets it."""

    def limited_ca(self, *passthrough: str) -> None:
        """Create a CA that may sign only for C{signed.test}."""
        now = datetime.now(timezone.utc)
        authority = CertificateAuthority.create("limited", now, limits=name_constraints(["signed.test"]))
        self.build(leaves=HostContexts(authority, 16, time.time, Later()), passthrough=passthrough)

    def test_refused(self) -> None:
        """The response comes before authorization and interception, in readable form; the connection stays open."""
        self.limited_ca()
        self.client.feed(connect())
        answer = self.client.take()
        self.assertEqual(status_of(answer), 403)
        problem = json.loads(content_of(answer))
        self.assertEqual(
            (problem["type"], problem["stage"]), ("urn:egressproxy:certificate-not-permitted", "certificate")
        )
        self.assertIn("may not sign for origin.test: its name constraints permit signed.test", problem["reason"])
        (record,) = self.records
        self.assertEqual(
            (record.method, record.url, record.verdict, record.status), ("CONNECT", "origin.test:443", "deny", 403)
        )
        self.assertEqual((self.authorizer.asked, self.dialer.checked), ([], []))
        self.client.feed(connect("signed.test:443"))
        self.assertEqual(self.client.take(), ESTABLISHED)

    def test_permitted_hosts_are_intercepted(self) -> None:
        self.limited_ca()
        self.client.feed(connect("a.signed.test:443"))
        self.assertEqual(self.client.take(), ESTABLISHED)

    def test_without_tls(self) -> None:
        """Protocols that need no certificate are not refused."""
        self.limited_ca()
        self.client.feed(request("GET", "http://origin.test/a", host="origin.test"))
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_passthrough(self) -> None:
        """A passthrough host needs no certificate."""
        self.limited_ca("origin.test")
        self.client.feed(connect())
        self.assertEqual(self.client.take(), ESTABLISHED)
        self.client.feed(b"\x16whatever")
        self.assertEqual(self.origin.take(), b"\x16whatever")

    def test_passthrough_denied(self) -> None:
        """A denial is sent once, outside the tunnel, and the connection is closed."""
        self.limited_ca("origin.test")
        self.authorizer.answers = [deny("because")]
        self.client.feed(connect() + b"\x16early")
        answer = self.client.take()
        self.assertEqual((status_of(answer), json.loads(content_of(answer))["reason"]), (403, "because"))
        self.assertIn(b"Connection: close\r\n", answer)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        (record,) = self.records
        self.assertEqual((record.stage, record.outcome, record.status), ("tunnel", "denied", 403))
        self.assertEqual(json.loads(content_of(answer))["decisionId"], record.request_id)


class OpaquePortTests(ProxyTestCase):
    """On an opaque port the protocol inside the tunnel is unknown."""

    def setUp(self) -> None:
        self.build(leaves=leaves(), opaque_ports=(range(443, 444),))

    def test_allowed(self) -> None:
        """A server that sends first works."""
        self.client.feed(connect())
        self.assertEqual(self.client.take(), ESTABLISHED)
        self.origin.feed(b"SSH-2.0-server\r\n")
        self.assertEqual(self.client.take(), b"SSH-2.0-server\r\n")
        self.client.feed(b"SSH-2.0-client\r\n")
        self.assertEqual(self.origin.take(), b"SSH-2.0-client\r\n")
        self.origin.lose()
        self.clock.advance(0)
        self.assertEqual([(record.stage, record.outcome) for record in self.records], [("tunnel", "forwarded")])

    def test_refused(self) -> None:
        """The CONNECT itself gets the response: a client that waits for its server would never read a response inside
        the tunnel.
        """
        self.authorizer.answers.append(deny("no shells"))
        self.client.feed(connect())
        answer = self.client.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 403 Denied by egress policy (rule rule-2)\r\n"), answer)
        self.assertIn(b"no shells", answer)
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual((self.dialer.dialled, self.outcomes()), ([], ["denied"]))


class PassthroughTests(ProxyTestCase):
    """Passthrough hosts are authorized, dialled and relayed without interception."""

    def setUp(self) -> None:
        self.build(leaves=leaves(), passthrough=("origin.test",))

    def relay(self) -> Wire:
        """Open a relayed tunnel."""
        self.client.feed(connect())
        self.assertEqual(self.client.take(), ESTABLISHED)
        return self.origin

    def test_allowed(self) -> None:
        origin = self.relay()
        (asked,) = self.authorizer.asked
        self.assertEqual(
            (asked.stage, asked.method, asked.url, asked.body, asked.headers),
            (Stage.TUNNEL, "CONNECT", "https://origin.test", None, ((b"Host", b"origin.test:443"),)),
        )
        self.assertEqual(self.dialer.checked, [(ORIGIN, Purpose.TUNNEL)])
        self.assertEqual(self.dialer.checked_for, ["198.51.100.7"])
        self.assertFalse(self.dialer.dialled[0].tls)
        self.client.feed(b"\x16\x03\x01 whatever")
        self.assertEqual(origin.take(), b"\x16\x03\x01 whatever")
        origin.feed(b"answer")
        self.assertEqual(self.client.take(), b"answer")
        self.assertEqual(self.records, [])
        origin.lose()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        (record,) = self.records
        self.assertEqual(
            (record.stage, record.verdict, record.outcome, record.status), ("tunnel", "allow", "forwarded", 200)
        )
        self.assertEqual((record.bytes_sent, record.bytes_received), (12, 6))

    def test_addresses_are_known_if_resolved_first(self) -> None:
        self.proxy.parts.origins.resolve = Resolve.BEFORE
        self.relay()
        asked = self.authorizer.asked[0]
        self.assertEqual((asked.addresses, asked.addresses_withheld), ((LOCAL,), False))

    def test_over_the_limit(self) -> None:
        for from_client in (True, False):
            with self.subTest(from_client=from_client):
                self.client = self.connect()
                self.allow_with(max_bytes=6)
                origin = self.relay()
                self.client.feed(b"abc")
                origin.feed(b"def")
                self.assertEqual((origin.take(), self.client.take()), (b"abc", b"def"))
                (self.client if from_client else origin).feed(b"g")
                self.assertEqual((origin.take(), self.client.take()), (b"", b""))
                self.assertTrue(origin.aborted and self.client.aborted)
                record = self.records[-1]
                self.assertEqual((record.outcome, record.verdict, record.status), ("limit-reached", "allow", 200))
                self.assertEqual((record.bytes_sent, record.bytes_received), (3, 3))
        self.assertEqual(len(self.records), 2)

    def test_over_the_limit_with_the_first_data(self) -> None:
        self.allow_with(max_bytes=2)
        decision = self.authorizer.answers.pop()
        pending = self.authorizer.pending()
        self.client.feed(connect() + b"early")
        pending.callback(decision)
        self.clock.advance(0)
        self.assertEqual((self.origin.written, self.outcomes()), (b"", ["limit-reached"]))

    def test_revoked(self) -> None:
        self.allow_with(expires_in=60)
        self.allow_with(expires_in=60)
        self.authorizer.answers.append(deny("enough"))
        origin = self.relay()
        self.clock.advance(60)
        self.client.feed(b"still there")
        self.assertEqual(origin.take(), b"still there")
        self.clock.advance(60)
        self.clock.advance(0)
        self.assertTrue(origin.aborted and self.client.aborted)
        (record,) = self.records
        self.assertEqual((record.outcome, record.reason, record.status), ("lease-revoked", "enough", 200))

    def test_revoked_while_dialling(self) -> None:
        self.dialer.pending(self.dialer.dials)
        self.allow_with(expires_in=1)
        self.authorizer.answers.append(deny("enough"))
        self.client.feed(connect())
        self.clock.advance(1)
        self.assertEqual(self.client.take(), ESTABLISHED, "the reason is sent inside the tunnel")
        self.assertEqual((self.outcomes(), self.dialer.cancelled), (["lease-revoked"], 1))

    def test_ended_before_expiry(self) -> None:
        self.allow_with(expires_in=60)
        self.relay().lose()
        self.clock.advance(61)
        self.assertEqual((self.outcomes(), len(self.authorizer.asked)), (["forwarded"], 1))

    def test_obligations_on_fields_are_rejected(self) -> None:
        self.allow_with(set_headers=((b"X", b"y"),))
        self.client.feed(connect())
        self.assertEqual((self.outcomes(), self.dialer.dialled), (["authorizer-unavailable"], []))
        self.assertIn("tunnel", self.records[0].reason)

    def test_nothing_is_dialled_nor_read_before_the_decision(self) -> None:
        decision = self.authorizer.pending()
        self.client.feed(connect() + b"early")
        self.assertTrue(self.client.paused)
        self.assertEqual((self.client.written, self.dialer.dialled), (b"", []))
        decision.callback(allow())
        self.assertEqual(self.origin.take(), b"early")
        self.assertFalse(self.client.paused)

    def test_the_200_comes_after_the_dial(self) -> None:
        dialled = self.dialer.pending(self.dialer.dials)
        self.client.feed(connect())
        self.assertEqual(self.client.written, b"")
        (far,) = self.dialer.protocols
        wire = self.dialer.connect(far)
        wire.feed(b"banner")
        self.assertEqual(self.client.written, b"")
        dialled.callback(None)
        self.assertEqual(self.client.take(), ESTABLISHED + b"banner")

    def test_data_during_authorization(self) -> None:
        decision = self.authorizer.pending()
        self.client.feed(connect())
        # Over TLS, one read can return more than was requested.
        session_of(self.client).dataReceived(b"one")
        session_of(self.client).dataReceived(b"two")
        decision.callback(allow())
        self.assertEqual(self.origin.take(), b"onetwo")

    def test_denied(self) -> None:
        self.authorizer.answers = [deny("no tunnels")]
        self.client.feed(connect())
        self.assertEqual(self.client.take(), ESTABLISHED, "the reason is sent inside the tunnel")
        (record,) = self.records
        self.assertEqual((record.stage, record.outcome, record.status), ("tunnel", "denied", 403))
        tls = TlsClient(self.client).shake()
        for _ in range(2):
            answer = tls.send(inner()).take()
            problem = json.loads(content_of(answer))
            self.assertEqual((status_of(answer), problem["reason"]), (403, "no tunnels"))
            self.assertEqual(problem["decisionId"], record.request_id)
        self.assertEqual((len(self.records), self.dialer.dialled), (1, []))

    def test_other_errors(self) -> None:
        for where, error, status, outcome in (
            (self.dialer.checks, AddressForbidden("loopback"), 403, "address-forbidden"),
            (self.dialer.dials, OriginUnreachable("refused"), 502, "origin-unreachable"),
            (self.authorizer.answers, AuthorizerUnavailable("down"), 503, "authorizer-unavailable"),
            (self.authorizer.answers, lambda: None, 503, "authorizer-unavailable"),
        ):
            with self.subTest(outcome):
                where.append(error)
                self.client = self.connect()
                self.client.feed(connect())
                self.client.take()
                tls = TlsClient(self.client).shake()
                self.assertEqual(status_of(tls.send(inner()).take()), status)
                self.assertEqual((self.outcomes()[-1], self.records[-1].status), (outcome, status))
        self.assertEqual(len(self.records), 4)

    def test_refused_after_the_hello_arrived(self) -> None:
        self.authorizer.answers = [deny()]
        tls = TlsClient(self.client)
        self.client.feed(connect() + tls.hello())
        tls.connection.bio_write(self.client.take()[len(ESTABLISHED) :])
        self.assertEqual(status_of(tls.shake().send(inner()).take()), 403)
        self.assertEqual(len(self.records), 1)

    def test_refused_with_an_unknown_protocol(self) -> None:
        self.authorizer.answers = [deny()]
        self.client.feed(connect())
        self.client.feed(b"SSH-2.0\r\n")
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["denied"], "there is one record")

    def test_an_internal_error_refuses_the_tunnel(self) -> None:
        self.patch(self.dialer, "check", broken)
        self.client.feed(connect())
        self.clock.advance(0)
        self.assertEqual((self.outcomes(), self.dialer.dialled), (["internal-error"], []))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_error_at_the_start_of_the_relay(self) -> None:
        write = Wire.write

        def refuse_early_data(wire: Wire, data: bytes) -> None:
            if data == b"early data":
                raise RuntimeError
            write(wire, data)

        self.patch(Wire, "write", refuse_early_data)
        self.client.feed(connect() + b"early data")
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["internal-error"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_error_after_a_refusal(self) -> None:
        self.authorizer.answers = [deny()]
        self.patch(self.client, "resumeProducing", broken)
        self.client.feed(connect())
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["denied"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_the_client_disconnects_during_authorization(self) -> None:
        self.authorizer.pending()
        self.client.feed(connect())
        self.client.lose()
        self.assertEqual((self.authorizer.cancelled, self.outcomes()), (1, ["client-disconnected"]))
        self.assertEqual(self.records[0].status, None)

    def test_the_client_disconnects_while_dialling(self) -> None:
        self.dialer.pending(self.dialer.dials)
        self.client.feed(connect())
        self.client.lose()
        self.assertEqual((self.dialer.cancelled, self.outcomes()), (1, ["client-disconnected"]))

    def test_the_client_half_closes_during_authorization(self) -> None:
        self.authorizer.pending()
        self.client.feed(connect())
        session_of(self.client).readConnectionLost()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.outcomes(), ["client-disconnected"])

    def test_an_authorizer_that_decides_when_cancelled(self) -> None:
        decision: Deferred[object] = Deferred(lambda _: decision.callback(allow()))
        self.authorizer.answers = [decision]
        self.client.feed(connect())
        self.client.lose()
        self.assertEqual((self.dialer.dialled, self.outcomes()), ([], ["client-disconnected"]))

    def test_the_client_disconnects(self) -> None:
        origin = self.relay()
        self.client.lose()
        self.clock.advance(0)
        self.assertTrue(origin.aborted)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_the_client_half_closes_the_relay(self) -> None:
        self.client.polite = False
        origin = self.relay()
        origin.polite = False
        self.client.feed(b"all")
        self.client.end()
        self.assertTrue(origin.write_closed)
        self.assertFalse(self.client.disconnecting)
        origin.feed(b"answer")
        self.assertEqual(self.client.take(), b"answer")
        origin.end()
        self.assertTrue(self.client.disconnected)
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["forwarded"])
        self.assertTrue(origin.disconnected)

    def test_the_origin_half_closes_the_relay(self) -> None:
        self.client.polite = False
        origin = self.relay()
        origin.feed(b"answer")
        origin.end()
        self.assertTrue(self.client.write_closed)
        self.client.feed(b"more")
        self.assertEqual(origin.take(), b"more")
        self.client.end()
        self.clock.advance(0)
        self.assertTrue(self.client.disconnected and origin.disconnected)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_an_idle_relay(self) -> None:
        origin = self.relay()
        self.clock.advance(3599)
        origin.feed(b"x")
        self.clock.advance(3599)
        self.client.feed(b"x")
        self.clock.advance(3599)
        self.assertEqual(self.records, [])
        self.clock.advance(1)
        self.clock.advance(0)
        self.assertTrue(self.client.aborted)
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_backpressure(self) -> None:
        origin = self.relay()
        self.assert_backpressure(self.client, origin)
        self.assert_backpressure(origin, self.client)

    def test_a_shutdown_during_authorization(self) -> None:
        self.authorizer.pending()
        self.client.feed(connect())
        self.proxy.parts.sessions.abort()
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-disconnected"])
