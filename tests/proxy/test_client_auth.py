"""Tests for L{egress.proxy.client_auth}."""

from __future__ import annotations

import json
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from egress.interfaces import IClientAuthenticator
from egress.model.errors import ClientAuthBusy, ClientAuthRequired, ClientCredentialsRejected
from egress.proxy.client_auth import CHECK_SECONDS, ClientAuthPolicy
from egress.proxy.factory import ProxyFactory
from egress.transport.tls import ServerTls, TlsFactory
from tests.certificates import CLIENT, TestCA, TestCertificate
from tests.proxy.fakes import ProxyTestCase, Wire, content_of, deny, request, response, status_of
from tests.proxy.test_tunnel_binding import basic
from tests.transport.tls import TlsClient, TlsEnd, leaves, presenting

GOOD = b"Bearer good"
URL = "http://origin.test/a"


def name_of(certificate: x509.Certificate) -> str | None:
    """The client name of a certificate."""
    return certificate.subject.rfc4514_string()


def credentials(value: bytes = GOOD) -> str:
    """The field with credentials."""
    return f"Proxy-Authorization: {value.decode()}"


@implementer(IClientAuthenticator)
class FakeAuthenticator:
    """An authenticator that a test controls.

    @ivar good: the clients of cached credentials.
    @ivar pending: checks that the test completes.
    @ivar asked: the credentials and addresses of the checks.
    """

    def __init__(self) -> None:
        self.good: dict[bytes, str] = {}
        self.asked: list[tuple[bytes | None, str]] = []
        self.pending: list[Deferred[str]] = []
        self.cancelled = 0

    def cached_identity(self, presented: bytes) -> str | None:
        return self.good.get(presented)

    def check(self, presented: bytes | None, address: str) -> Deferred[str]:
        self.asked.append((presented, address))
        if presented is None:
            return fail(ClientAuthRequired("say who you are"))
        if presented == GOOD:
            return succeed("ci")

        def cancel(_: object) -> None:
            self.cancelled += 1

        waiting: Deferred[str] = Deferred(cancel)
        self.pending.append(waiting)
        return waiting


class AuthenticatedTestCase(ProxyTestCase):
    """A listening port with an authenticator."""

    def setUp(self) -> None:
        self.gate = FakeAuthenticator()
        self.auth_policy = ClientAuthPolicy(self.gate)
        self.build(leaves=leaves())

    def connect(self, address: str = "198.51.100.7") -> Any:
        wire = self.proxy.client(address, self.auth_policy)
        self.clients.append(wire)
        return wire

    def assert_rejected(self, status: int, outcome: str) -> str:
        """Check that the last request was rejected before authorization.

        @return: the response.
        """
        answer: bytes = self.client.take()
        self.assertEqual(status_of(answer), status)
        problem = json.loads(content_of(answer))
        self.assertEqual((problem["stage"], problem["type"]), ("client-auth", f"urn:egressproxy:{outcome}"))
        record = self.records[-1]
        self.assertEqual((record.outcome, record.verdict, record.status), (outcome, "rejected", status))
        self.assertEqual((record.client.identity, record.client.address), (None, "198.51.100.7"))
        self.assertEqual((self.authorizer.asked, self.dialer.checked), ([], []))
        return answer.decode()


class PlainTests(AuthenticatedTestCase):
    """Requests on the listening port."""

    def test_without_credentials(self) -> None:
        self.client.feed(request())
        answer = self.assert_rejected(407, "client-auth-required")
        self.assertIn('Proxy-Authenticate: Basic realm="egressproxy", charset="UTF-8"\r\n', answer)
        self.assertIn('Proxy-Authenticate: Bearer realm="egressproxy"\r\n', answer)
        self.assertIn("Connection: keep-alive\r\n", answer)
        self.assertEqual(self.gate.asked, [(None, "198.51.100.7")])

    def test_the_proxy_itself_responds_after_authentication(self) -> None:
        target = "http://egressproxy.invalid/"
        self.client.feed(request("GET", target, host="egressproxy.invalid"))
        self.assert_rejected(407, "client-auth-required")
        self.client.feed(request("GET", target, credentials(), host="egressproxy.invalid"))
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertEqual(self.outcomes(), ["client-auth-required", "proxy-addressed"])
        self.assertEqual(self.records[1].client.identity, "ci")

    def test_the_next_request_has_credentials(self) -> None:
        self.client.feed(request())
        self.client.take()
        self.client.feed(request("GET", URL, credentials()))
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertEqual(self.outcomes(), ["client-auth-required", "forwarded"])
        self.assertEqual(self.authorizer.asked[0].client.identity, "ci")
        self.assertEqual(self.records[1].client.identity, "ci")

    def test_credentials_are_not_forwarded(self) -> None:
        self.client.feed(request("GET", URL, credentials()))
        self.assertNotIn(b"good", self.origin.written)
        self.assertNotIn(b"roxy-", self.origin.written)
        self.assertNotIn("good", repr(self.authorizer.asked[0]))

    def test_content_of_a_rejected_request(self) -> None:
        self.client.feed(request("POST", URL, body=b"x" * 10))
        self.assertIn("Connection: close\r\n", self.assert_rejected(407, "client-auth-required"))
        self.assertTrue(self.client.disconnected)

    def test_an_unverified_name_is_no_identity(self) -> None:
        self.client.feed(request("GET", URL, credentials(basic(b"admin:x"))))
        self.assertEqual(self.authorizer.asked, [])
        self.gate.pending[0].errback(ClientCredentialsRejected("no"))
        self.assert_rejected(407, "client-credentials-rejected")

    def test_cached_credentials_are_not_checked(self) -> None:
        self.gate.good[b"Bearer known"] = "old friend"
        self.client.feed(request("GET", URL, credentials(b"Bearer known")))
        self.assertEqual(self.authorizer.asked[0].client.identity, "old friend")
        self.origin.feed(response())
        self.client.feed(request("GET", URL, credentials(b"Bearer known")))
        self.assertIs(self.authorizer.asked[1].client, self.authorizer.asked[0].client)
        self.assertEqual(self.gate.asked, [])

    def test_each_request_is_authenticated(self) -> None:
        """Credentials that were valid earlier may be invalid now: the connection proves nothing."""
        self.gate.good[b"Bearer known"] = "old friend"
        self.client.feed(request("GET", URL, credentials(b"Bearer known")))
        self.origin.feed(response())
        self.client.take()
        del self.gate.good[b"Bearer known"]
        self.client.feed(request("GET", URL, credentials(b"Bearer known")))
        self.gate.pending[0].errback(ClientCredentialsRejected("no"))
        self.assertEqual(self.outcomes(), ["forwarded", "client-credentials-rejected"])
        self.assertIsNone(self.records[1].client.identity)
        self.client.feed(request())
        self.assertEqual(self.outcomes()[2:], ["client-auth-required"])

    def test_a_client_may_change_its_credentials(self) -> None:
        self.gate.good.update({b"Bearer a": "alice", b"Bearer b": "bob"})
        for value, name, origin in ((b"Bearer a", "alice", 0), (b"Bearer b", "bob", 1), (b"Bearer a", "alice", 0)):
            self.client.feed(request("GET", URL, credentials(value)))
            self.dialer.origins[origin].feed(response())
            self.assertEqual(self.records[-1].client.identity, name)
        self.assertEqual(len(self.dialer.dialled), 2, "the two clients share no origin connections")

    def test_two_credentials(self) -> None:
        self.client.feed(request("GET", URL, credentials(), credentials(b"Bearer other")))
        self.assertEqual(status_of(self.client.take()), 400)
        self.assertEqual(self.gate.asked, [])


class UnverifiedNameTests(ProxyTestCase):
    """Ports without client authentication."""

    def identity(self, auth_policy: ClientAuthPolicy) -> str | None:
        client = self.proxy.client(auth_policy=auth_policy)
        self.clients.append(client)
        client.feed(request("GET", URL, credentials(basic(b"admin:x"))))
        return self.authorizer.asked[-1].client.identity

    def test_unverified_names(self) -> None:
        self.assertEqual(self.identity(ClientAuthPolicy()), "admin")

    def test_no_unverified_names(self) -> None:
        """Another port verifies names."""
        self.assertIsNone(self.identity(ClientAuthPolicy(allow_unverified_names=False)))
        self.assertEqual(len({asked.client.pool_key for asked in self.authorizer.asked}), 1)


class WaitingTests(AuthenticatedTestCase):
    """Requests whose credentials are being checked."""

    def setUp(self) -> None:
        super().setUp()
        self.client.feed(request("GET", URL, credentials(b"Bearer slow")))
        (self.waiting,) = self.gate.pending

    def test_valid_credentials(self) -> None:
        self.assertEqual(self.client.written, b"")
        self.waiting.callback("slow")
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertEqual(self.records[0].client.identity, "slow")

    def test_invalid_credentials(self) -> None:
        self.waiting.errback(ClientCredentialsRejected("no"))
        self.assertIn("Proxy-Authenticate: Basic", self.assert_rejected(407, "client-credentials-rejected"))
        self.client.feed(request("GET", URL, credentials()))
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_busy(self) -> None:
        self.waiting.errback(ClientAuthBusy("later"))
        answer = self.assert_rejected(429, "client-auth-busy")
        self.assertIn("Retry-After: 1\r\n", answer)
        self.assertNotIn("Proxy-Authenticate", answer)

    def test_timeout(self) -> None:
        self.clock.advance(CHECK_SECONDS)
        self.assertEqual(self.gate.cancelled, 1)
        self.assertIn("not checked in time", self.assert_rejected(429, "client-auth-busy"))

    def test_an_authenticator_that_fails(self) -> None:
        self.waiting.errback(ZeroDivisionError())
        self.assertEqual(status_of(self.client.take()), 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_an_error_after_the_check(self) -> None:
        def broken(*_: object) -> None:
            raise ZeroDivisionError

        self.patch(self.client.protocol, "admitted", broken)
        self.waiting.callback("slow")
        self.assertEqual(status_of(self.client.take()), 500)
        self.assertTrue(self.client.write_closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_next_request_waits(self) -> None:
        self.authorizer.answers = [deny("first"), deny("second")]
        self.client.feed(request("GET", URL, credentials()))
        self.assertTrue(self.client.paused)
        self.assertEqual(self.authorizer.asked, [])
        self.waiting.callback("slow")
        self.clock.advance(0)
        answers = self.client.take()
        self.assertLess(answers.index(b"first"), answers.index(b"second"))
        self.assertEqual([record.client.identity for record in self.records], ["slow", "ci"])

    def test_the_client_disconnects(self) -> None:
        self.client.lose()
        self.assertEqual(self.gate.cancelled, 1)
        self.assertEqual(self.outcomes(), ["client-disconnected"])
        self.assertEqual((self.records[0].method, self.records[0].url), ("GET", URL))

    def test_a_late_result(self) -> None:
        late: Deferred[str] = Deferred(lambda deferred: deferred.callback("late"))
        self.patch(self.gate, "check", lambda *_: late)
        other = self.connect()
        other.feed(request("GET", URL, credentials(b"Bearer slow")))
        other.lose()
        self.assertEqual((self.outcomes(), self.authorizer.asked), (["client-disconnected"], []))
        self.waiting.errback(ClientCredentialsRejected("no"))

    def test_the_client_half_closes(self) -> None:
        self.client.end()
        self.assertFalse(self.client.disconnecting)
        self.waiting.callback("slow")
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertTrue(self.client.disconnected)

    def test_a_client_with_backpressure(self) -> None:
        self.client.choke()
        self.client.unchoke()
        self.waiting.callback("slow")
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)

    def test_a_shutdown(self) -> None:
        self.proxy.parts.sessions.draining = True
        self.proxy.parts.sessions.drain()
        self.assertFalse(self.client.disconnecting)
        self.waiting.callback("slow")
        self.origin.feed(response())
        self.assertEqual(status_of(self.client.take()), 200)
        self.assertTrue(self.client.disconnected)


class ContentTests(AuthenticatedTestCase):
    """Content of a request whose credentials are being checked."""

    def test_content_is_buffered(self) -> None:
        self.client.feed(request("POST", URL, credentials(b"Bearer slow"), body=b"content"))
        self.assertTrue(self.client.paused)
        self.gate.pending[0].callback("slow")
        self.assertEqual(self.authorizer.asked[0].body, b"content")
        self.origin.feed(response())
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_content_times_out(self) -> None:
        self.client.feed(request("POST", URL, credentials(b"Bearer slow"), "Content-Length: 5"))
        self.client.end()
        self.assertTrue(self.client.disconnected)
        self.assertEqual(self.gate.cancelled, 1)
        self.assertEqual(self.outcomes(), ["client-disconnected"])


class ConnectTests(AuthenticatedTestCase):
    """The credentials of a CONNECT apply to all requests inside the tunnel."""

    def connect_request(self, *fields: str) -> bytes:
        return request("CONNECT", "origin.test:443", *fields, host="origin.test:443")

    def test_without_credentials(self) -> None:
        self.client.feed(self.connect_request())
        answer = self.assert_rejected(407, "client-auth-required")
        self.assertTrue(answer.startswith("HTTP/1.1 407 Proxy Authentication Required\r\n"))
        self.assertIn("Connection: keep-alive\r\n", answer)
        self.assertEqual((self.records[0].method, self.records[0].url), ("CONNECT", "origin.test:443"))

    def test_retry_on_the_same_connection(self) -> None:
        self.client.feed(self.connect_request())
        self.client.take()
        self.client.feed(self.connect_request(credentials(b"Bearer slow")))
        self.assertEqual(self.client.written, b"")
        self.gate.pending[0].callback("slow")
        self.assertEqual(self.client.take(), b"HTTP/1.1 200 Connection established\r\n\r\n")

    def test_requests_inside_the_tunnel(self) -> None:
        self.client.feed(self.connect_request(credentials()))
        self.client.take()
        end = TlsClient(self.client).shake()
        end.send(request("GET", "/a", credentials(b"Bearer another")))
        self.assertEqual(self.authorizer.asked[0].client.identity, "ci")
        self.assertNotIn(b"another", self.origin.take())
        self.origin.feed(response())
        self.assertEqual(status_of(end.take()), 200)
        self.assertEqual(self.records[0].client.identity, "ci")
        self.assertEqual(len(self.gate.asked), 1)


class CertificateTests(ProxyTestCase):
    """Clients that present certificates when they connect."""

    def setUp(self) -> None:
        super().setUp()
        self.ca = TestCA("Clients")
        self.mine = self.ca.issue(usage=CLIENT, subject="runner-7")

    def present(self, certificate: TestCertificate | None, auth_policy: ClientAuthPolicy) -> TlsEnd:
        """Connect, and present a certificate to a server that requests one but does not require it."""
        context = TestCA().issue("proxy.test").server_context()
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.ca.certificate))
        context.set_verify(SSL.VERIFY_PEER)
        factory = TlsFactory(ServerTls(context), False, ProxyFactory(self.proxy.parts, auth_policy), clock=self.clock)
        wire = Wire(self.clock).connect(factory.buildProtocol(None))
        self.clients.append(wire)
        return TlsClient(wire, None, context=presenting(certificate)).shake()

    def test_the_name(self) -> None:
        client = self.present(self.mine, ClientAuthPolicy(None, name_of))
        client.send(request("GET", URL, credentials(basic(b"admin:x"))))
        asked = self.authorizer.asked[0].client
        self.assertEqual(asked.identity, "CN=runner-7", "an unverified name is ignored")
        self.origin.feed(response())
        self.assertEqual(status_of(client.take()), 200)
        client.send(request("GET", URL, credentials(basic(b"admin:x"))))
        self.assertIs(self.authorizer.asked[1].client, asked)

    def test_two_clients_share_no_connections(self) -> None:
        auth_policy = ClientAuthPolicy(None, lambda _: "the same name")
        for certificate in (self.mine, self.ca.issue(usage=CLIENT, subject="runner-8")):
            self.present(certificate, auth_policy).send(request())
            self.origin.feed(response())
        self.assertEqual(len(self.dialer.dialled), 2)

    def assert_rejected(self, client: Any, words: str) -> None:
        client.feed(request())
        answer = client.take()
        self.assertEqual(status_of(answer), 407)
        self.assertIn(words, json.loads(content_of(answer))["reason"])
        self.assertEqual(self.outcomes()[-1], "client-credentials-rejected")
        self.assertEqual(self.authorizer.asked, [])

    def test_no_name(self) -> None:
        self.assert_rejected(self.present(self.mine, ClientAuthPolicy(None, lambda _: None)), "no client name")

    def test_no_certificate(self) -> None:
        """The TLS context rejects such clients; this check does not depend on it."""
        auth_policy = ClientAuthPolicy(None, name_of)
        self.assert_rejected(self.present(None, auth_policy), "requires a client certificate")
        plain = self.proxy.client(auth_policy=auth_policy)
        self.clients.append(plain)
        self.assert_rejected(plain, "requires a client certificate")

    def test_certificate_and_credentials(self) -> None:
        """If both are required, both must be valid, and the name is that of the credentials."""
        client = self.present(self.mine, ClientAuthPolicy(FakeAuthenticator(), name_of))
        client.send(request())
        self.assertEqual(status_of(client.take()), 407)
        client.send(request("GET", URL, credentials()))
        self.assertEqual(self.authorizer.asked[0].client.identity, "ci")
        self.origin.feed(response())
        other = self.present(
            self.ca.issue(usage=CLIENT, subject="runner-8"), ClientAuthPolicy(FakeAuthenticator(), name_of)
        )
        other.send(request("GET", URL, credentials()))
        self.assertNotEqual(self.authorizer.asked[0].client.pool_key, self.authorizer.asked[1].client.pool_key)

    def test_the_end_of_the_session(self) -> None:
        """A TLS session that breaks after a request is not a failed handshake."""
        client = self.present(self.mine, ClientAuthPolicy(None, name_of))
        client.send(request())
        self.origin.feed(response())
        self.clients[-1].feed(b"no TLS record at all")
        self.assertEqual(self.outcomes(), ["forwarded"])

    def test_an_error_without_a_message(self) -> None:
        wire = self.proxy.client()
        wire.lose(SSL.Error())
        self.assertEqual(self.records[-1].reason, "the TLS handshake with the proxy itself failed: Error")

    def test_an_error_before_the_first_request(self) -> None:
        client = self.present(self.mine, ClientAuthPolicy(None, name_of))
        client.send(b"nonsense\r\n\r\n")
        self.assertEqual(self.outcomes(), ["bad-request"])
