"""Tests for L{egress.tls.host_contexts}."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.interfaces import ILeafSource
from egress.model.authority import Authority
from egress.model.client_tls import LeafKey
from egress.tls.host_contexts import HostContexts, new_rsa_key
from egress.tls.issuer import LEAF_LIFETIME, CaError, CertificateAuthority
from egress.tls.name_constraints import name_constraints
from egress.transport.tls import ServerTls
from tests.certificates import TestCA
from tests.threads import Later
from tests.tls.sessions import Session, is_resumed, move, shake_hands
from tests.transport.tls import rsa_key

HOST = Authority("api.example.com", 443)


def client_context() -> SSL.Context:
    """Return a client context that accepts every certificate."""
    return SSL.Context(SSL.TLS_CLIENT_METHOD)


class ContextsTestCase(SynchronousTestCase):
    """Provides a CA and a manual clock."""

    def setUp(self) -> None:
        self.now = datetime.now(timezone.utc).timestamp()
        self.authority = CertificateAuthority.create("test", datetime.fromtimestamp(self.now, timezone.utc))
        self.threads = Later()
        self.keys_made = 0
        self.contexts = self.make(100)

    def make(self, capacity: int) -> HostContexts:
        return HostContexts(self.authority, capacity, lambda: self.now, self.threads, make_rsa_key=self.make_key)

    def make_key(self) -> rsa.RSAPrivateKey:
        self.keys_made += 1
        return rsa_key()

    def connect(self, context: SSL.Context, client: SSL.Context | None = None) -> tuple[SSL.Connection, SSL.Connection]:
        ends = SSL.Connection(client or client_context(), None), SSL.Connection(context, None)
        shake_hands(*ends)
        return ends

    def served(self, context: SSL.Context) -> x509.Certificate:
        certificate = self.connect(context)[0].get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate


class KeysTests(ContextsTestCase):
    """Leaf certificates with other kinds of keys."""

    def setUp(self) -> None:
        super().setUp()
        prepared = self.contexts.prepared(LeafKey.RSA)
        self.threads.begun.pop()()
        self.successResultOf(prepared)
        self.keys_made = 0

    def test_kinds(self) -> None:
        """Each kind has its own certificate, under the same CA."""
        for key, kind in ((LeafKey.P256, 256), (LeafKey.P384, 384), (LeafKey.RSA, 2048)):
            context = self.contexts.context_for(HOST, key)
            self.assertIs(self.contexts.context_for(HOST, key), context)
            leaf = self.served(context)
            public_key = leaf.public_key()
            assert isinstance(public_key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey))
            self.assertEqual(public_key.key_size, kind)
            leaf.verify_directly_issued_by(self.authority.certificate)
            identifier = leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            self.assertEqual(identifier, x509.SubjectKeyIdentifier.from_public_key(public_key))
        self.assertEqual(len(self.contexts), 3)

    def test_contexts_on_demand(self) -> None:
        """A host has one context, unless its clients need another kind; the total is limited."""
        contexts = self.make(2)
        for number in range(5):
            contexts.context_for(Authority(f"{number}.example", 443))
            self.assertLessEqual(len(contexts), 2)
        contexts.context_for(HOST, LeafKey.P384)
        self.assertEqual(len(contexts), 2)
        self.assertEqual((self.threads.begun, self.keys_made), ([], 0))

    def test_one_key_for_all_hosts(self) -> None:
        for key in LeafKey:
            leaves = [self.served(self.contexts.context_for(Authority(f"{host}.example", 443), key)) for host in "ab"]
            self.assertEqual(leaves[0].public_key(), leaves[1].public_key())

    def test_prepared(self) -> None:
        """Only an RSA key requires waiting; it is generated in a thread."""
        contexts = self.make(2)
        for key in (LeafKey.P256, LeafKey.P384):
            self.successResultOf(contexts.prepared(key))
        self.assertRaises(AssertionError, contexts.context_for, HOST, LeafKey.RSA)
        self.successResultOf(self.contexts.prepared(LeafKey.RSA))
        self.assertEqual(self.threads.begun, [])
        prepared = contexts.prepared(LeafKey.RSA)
        self.assertNoResult(prepared)
        (begin,) = self.threads.begun
        begin()
        self.assertIs(self.successResultOf(prepared), rsa_key())
        self.assertEqual(self.keys_made, 1)
        contexts.context_for(HOST, LeafKey.RSA)
        self.assertEqual(new_rsa_key().key_size, 2048)

    def test_follow(self) -> None:
        """Another CA signs for the same RSA key, which belongs to the process."""
        before = self.served(self.contexts.context_for(HOST, LeafKey.RSA))
        other = CertificateAuthority.create("other", datetime.fromtimestamp(self.now, timezone.utc))
        self.contexts.follow(other)
        after = self.served(self.contexts.context_for(HOST, LeafKey.RSA))
        after.verify_directly_issued_by(other.certificate)
        self.assertEqual(before.public_key(), after.public_key())


class ResumptionTests(ContextsTestCase):
    """The sessions that returning clients resume (decision 17)."""

    def resumed(self, first: SSL.Context, second: SSL.Context) -> list[bool]:
        found = []
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client = client_context()
            client.set_max_proto_version(version)
            found.append(is_resumed(client, first, second))
        return found

    def test_same_host(self) -> None:
        context = self.contexts.context_for(HOST)
        self.assertEqual(self.resumed(context, self.contexts.context_for(HOST)), [True, True])

    def test_other_host(self) -> None:
        other = self.contexts.context_for(Authority("b.example", 443))
        self.assertEqual(self.resumed(self.contexts.context_for(HOST), other), [False, False])

    def test_other_key(self) -> None:
        other = self.contexts.context_for(HOST, LeafKey.P384)
        self.assertEqual(self.resumed(self.contexts.context_for(HOST), other), [False, False])

    def test_after_a_change_of_the_ca(self) -> None:
        """A client that does not trust the CA any more must verify the new certificate."""
        before = self.contexts.context_for(HOST)
        self.contexts.follow(self.authority)
        self.assertEqual(self.resumed(before, self.contexts.context_for(HOST)), [False, False])

    def test_keys_change_with_the_certificate(self) -> None:
        before = self.contexts.context_for(HOST)
        self.now += LEAF_LIFETIME.total_seconds() * 0.9
        self.assertEqual(self.resumed(before, self.contexts.context_for(HOST)), [False, False])


class CacheTests(ContextsTestCase):
    """The cache and its limits."""

    def test_interface(self) -> None:
        """It provides L{ILeafSource}."""
        verifyObject(ILeafSource, self.contexts)

    def test_one_context_per_host(self) -> None:
        """A host has one context for all ports; another host has another context."""
        context = self.contexts.context_for(HOST)
        self.assertIs(self.contexts.context_for(Authority(HOST.host, 8443)), context)
        self.assertIsNot(self.contexts.context_for(Authority("b.example", 443)), context)
        self.assertEqual(len(self.contexts), 2)

    def test_capacity(self) -> None:
        """Above the capacity, the least recently used host is removed."""
        contexts = self.make(2)
        first, second, third = (Authority(f"{name}.example", 443) for name in "abc")
        kept = contexts.context_for(first)
        dropped = contexts.context_for(second)
        contexts.context_for(first)
        contexts.context_for(third)
        self.assertEqual(len(contexts), 2)
        self.assertIs(contexts.context_for(first), kept)
        self.assertIsNot(contexts.context_for(second), dropped)
        self.assertEqual(len(contexts), 2)

    def test_renewal_counts_as_use(self) -> None:
        """A host with a renewed certificate is the most recently used one."""
        contexts = self.make(2)
        first, second, third = (Authority(f"{name}.example", 443) for name in "abc")
        contexts.context_for(first)
        self.now += timedelta(days=2).total_seconds()
        kept = contexts.context_for(second)
        self.now += timedelta(days=1).total_seconds()
        renewed = contexts.context_for(first)
        self.assertIs(contexts.context_for(second), kept)
        self.assertIs(contexts.context_for(first), renewed)
        contexts.context_for(third)
        self.assertIs(contexts.context_for(first), renewed)

    def test_dropped_while_in_use(self) -> None:
        """A session continues after its context was dropped."""
        contexts = self.make(1)
        client, server = self.connect(contexts.context_for(HOST))
        contexts.context_for(Authority("b.example", 443))
        client.send(b"still there")
        move(client, server)
        self.assertEqual(server.recv(100), b"still there")

    def test_renewed(self) -> None:
        """A certificate is replaced in the last seventh of its lifetime, without another cache entry."""
        context = self.contexts.context_for(HOST)
        self.now += (LEAF_LIFETIME * 6 / 7).total_seconds() - 2
        self.assertIs(self.contexts.context_for(HOST), context)
        self.now += 3
        renewed = self.contexts.context_for(HOST)
        self.assertIsNot(renewed, context)
        self.assertIs(self.contexts.context_for(HOST), renewed)
        self.assertEqual(len(self.contexts), 1)
        self.assertGreater(self.served(renewed).not_valid_after_utc, self.served(context).not_valid_after_utc)

    def test_another_ca(self) -> None:
        """Another CA signs immediately, including for hosts with a cached certificate; sessions continue."""
        client, server = self.connect(self.contexts.context_for(HOST))
        other = CertificateAuthority.create("other", datetime.fromtimestamp(self.now, timezone.utc))
        self.contexts.follow(other)
        self.assertEqual(len(self.contexts), 0)
        self.served(self.contexts.context_for(HOST)).verify_directly_issued_by(other.certificate)
        client.send(b"still there")
        move(client, server)
        self.assertEqual(server.recv(100), b"still there")

    def test_refusal(self) -> None:
        """A CA with name constraints has no certificate for other hosts, and reports that in advance."""
        self.assertIsNone(self.contexts.refusal(HOST))
        now = datetime.fromtimestamp(self.now, timezone.utc)
        self.contexts.follow(CertificateAuthority.create("limited", now, limits=name_constraints(["example.com"])))
        self.assertIsNone(self.contexts.refusal(HOST))
        other = Authority("example.org", 443)
        self.assertEqual(
            self.contexts.refusal(other),
            "the proxy's CA may not sign for example.org: its name constraints permit example.com",
        )
        self.assertRaises(CaError, self.contexts.context_for, other)

    def test_clock_set_back(self) -> None:
        """A certificate that is not valid yet, because the clock was set back, is replaced."""
        self.now += timedelta(days=3).total_seconds()
        context = self.contexts.context_for(HOST)
        self.now -= timedelta(minutes=59).total_seconds()
        self.assertIs(self.contexts.context_for(HOST), context)
        self.now -= timedelta(minutes=2).total_seconds()
        self.assertIsNot(self.contexts.context_for(HOST), context)

    def test_expiry_of_the_ca(self) -> None:
        """Shortly before the CA expires, contexts are still reused; after that there are none."""
        self.now = self.authority.not_after.timestamp() - 3600
        context = self.contexts.context_for(HOST)
        self.now += 600
        self.assertIs(self.contexts.context_for(HOST), context)
        self.now += 3000
        self.assertRaises(CaError, self.contexts.context_for, HOST)


class HandshakeTests(ContextsTestCase):
    """The sessions of a context."""

    def handshake(self, client: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
        return self.connect(self.contexts.context_for(HOST), client)

    def verifying(self) -> SSL.Context:
        context = client_context()
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.authority.certificate))
        context.set_verify(SSL.VERIFY_PEER)
        return context

    def test_verified(self) -> None:
        """A client that trusts only the CA accepts names and addresses."""
        for host in ("api.example.com", "xn--bcher-kva.example", "192.0.2.7", "2001:db8::1"):
            client, _ = self.connect(self.contexts.context_for(Authority(host, 443)), self.verifying())
            certificate = client.get_peer_certificate(as_cryptography=True)
            assert certificate is not None
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            (name,) = names
            self.assertEqual(str(name.value), host)

    def test_intermediate(self) -> None:
        """The certificate of an intermediate CA is sent, so that clients only need to trust the root."""
        root = TestCA("Root")
        middle = TestCA("Middle", root)
        now = datetime.fromtimestamp(self.now, timezone.utc)
        self.authority = CertificateAuthority(middle.certificate, middle.key, now)
        client = client_context()
        store = client.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(root.certificate))
        client.set_verify(SSL.VERIFY_PEER)
        self.connect(self.make(1).context_for(HOST), client)

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3, with authenticated encryption."""
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            context = client_context()
            context.set_max_proto_version(version)
            client, _ = self.handshake(context)
            self.assertEqual(client.get_protocol_version_name(), name)
            cipher = client.get_cipher_name()
            assert cipher is not None
            self.assertTrue("GCM" in cipher or "CHACHA20" in cipher, cipher)

    def test_old_version(self) -> None:
        """TLS 1.1 is rejected, although the client would accept it from another server."""
        client = client_context()
        client.set_max_proto_version(SSL.TLS1_1_VERSION)
        client.set_cipher_list(b"ALL:@SECLEVEL=0")
        old = TestCA().issue(HOST.host).server_context()
        old.set_min_proto_version(SSL.TLS1_VERSION)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        self.assertEqual(self.connect(old, client)[0].get_protocol_version_name(), "TLSv1.1")
        context = self.contexts.context_for(HOST)
        # This ensures that only the version prevents the handshake.
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        error = self.assertRaises(SSL.Error, self.connect, context, client)
        self.assertIn("unsupported protocol", str(error))

    def test_weak_ciphers(self) -> None:
        """A client of TLS 1.2 with only CBC suites is rejected."""
        client = client_context()
        client.set_max_proto_version(SSL.TLS1_2_VERSION)
        client.set_cipher_list(b"ECDHE-ECDSA-AES128-SHA256")
        self.connect(TestCA().issue(HOST.host).server_context(), client)
        error = self.assertRaises(SSL.Error, self.handshake, client)
        self.assertIn("no shared cipher", str(error))

    def test_application_protocol(self) -> None:
        """C{h2}, else C{http/1.1}, is selected if it is offered, at any position; otherwise no protocol is."""
        for offered, chosen in (
            ([b"http/1.1"], b"http/1.1"),
            ([b"http/1.1", b"h2"], b"h2"),
            ([b"h3", b"acme-tls/1"], b""),
        ):
            context = client_context()
            context.set_alpn_protos(offered)
            for end in self.handshake(context):
                self.assertEqual(end.get_alpn_proto_negotiated(), chosen)

    def test_without_http2(self) -> None:
        self.contexts = HostContexts(self.authority, 1, lambda: self.now, self.threads, http2=False)
        for offered, chosen in (([b"h2", b"http/1.1"], b"http/1.1"), ([b"h2"], b"")):
            context = client_context()
            context.set_alpn_protos(offered)
            for end in self.handshake(context):
                self.assertEqual(end.get_alpn_proto_negotiated(), chosen)

    def test_no_application_protocol(self) -> None:
        """A client without ALPN is accepted as well."""
        for end in self.handshake(client_context()):
            self.assertEqual(end.get_alpn_proto_negotiated(), b"")

    def test_settings(self) -> None:
        """Sessions use no memory for a cache or for idle buffers, and neither compression nor renegotiation."""
        context = self.contexts.context_for(HOST)
        self.assertEqual(context.get_session_cache_mode(), SSL.SESS_CACHE_OFF)
        self.assertTrue(context.set_mode(0) & SSL.MODE_RELEASE_BUFFERS)
        for option in (SSL.OP_NO_COMPRESSION, SSL.OP_NO_RENEGOTIATION):
            self.assertTrue(context.set_options(0) & option)

    def test_renegotiation(self) -> None:
        """A client cannot renegotiate in TLS 1.2."""
        context = client_context()
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client, server = self.handshake(context)
        client.renegotiate()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        move(client, server)
        self.assertRaises(SSL.WantReadError, server.recv, 100)
        move(server, client)
        error = self.assertRaises(SSL.Error, client.do_handshake)
        self.assertIn("no renegotiation", str(error))

    def test_resumption(self) -> None:
        """A ticket is valid only for its own host."""
        other = self.contexts.context_for(Authority("b.example", 443))
        context = client_context()
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        first, _ = self.handshake(context)
        session = first.get_session()
        assert session is not None
        for server, resumed in ((self.contexts.context_for(HOST), True), (other, False)):
            again = SSL.Connection(context, None)
            again.set_session(session)
            shake_hands(again, SSL.Connection(server, None))
            # A resumed session of TLS 1.2 uses the master secret of the first one.
            self.assertEqual(again.master_key() == first.master_key(), resumed)


class TwistedTests(ContextsTestCase):
    """The contexts work with Twisted's TLS."""

    def test_interface(self) -> None:
        """It provides Twisted's interface for a server."""
        verifyObject(IOpenSSLServerConnectionCreator, ServerTls(self.contexts.context_for(HOST)))

    def test_session(self) -> None:
        """Twisted's TLS uses the context, also for a client with ALPN."""
        root = trustRootFromCertificates([Certificate.loadPEM(self.authority.certificate_pem)])
        client = optionsForClientTLS(HOST.host, root, acceptableProtocols=[b"h2", b"http/1.1"])
        session = Session(client, ServerTls(self.contexts.context_for(HOST)), b"hello").run()
        self.assertTrue(session.client.completed)
        self.assertTrue(session.server.completed)
        self.assertEqual(session.server.received, b"hello")
        self.assertEqual(session.client_layer.negotiatedProtocol, b"h2")
