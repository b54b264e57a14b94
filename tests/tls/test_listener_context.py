"""Tests for L{egress.tls.listener_context}."""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.trial.unittest import SynchronousTestCase

from egress.config.listener import ListenerTls
from egress.tls.listener_context import listener_context
from egress.tls.pem import TrustError
from tests.certificates import CLIENT, TestCA, TestCertificate, key_pem_of, new_key, self_signed
from tests.files import make_directory
from tests.tls.sessions import is_resumed, move, shake_hands


class ListenerContextTests(SynchronousTestCase):
    """The TLS handshake of clients that connect to the proxy over C{https}."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.ca = TestCA("Proxies")
        self.certificate, self.key = TestCA("Middle", self.ca).issue("proxy.test").write(self.directory)
        self.clients = TestCA("Clients")
        self.client_ca = self.clients.write(self.directory, "clients")

    def server(self, **files: Path) -> SSL.Connection:
        context = listener_context(ListenerTls(self.key, self.certificate, **files))
        return SSL.Connection(context, None)

    def client(self, mine: TestCertificate | None = None, version: int = SSL.TLS1_3_VERSION) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(version)
        if version < SSL.TLS1_2_VERSION:
            # This ensures that only the version prevents the handshake.
            context.set_min_proto_version(version)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(self.ca.certificate))
        context.set_verify(SSL.VERIFY_PEER)
        if mine is not None:
            context.use_certificate(mine.certificate)
            context.use_privatekey(mine.key)
            for issuer in mine.chain:
                context.add_extra_chain_cert(issuer)
        return SSL.Connection(context, None)

    def test_chain_is_sent(self) -> None:
        client = self.client()
        shake_hands(client, self.server())
        shown = client.get_peer_certificate()
        assert shown is not None
        self.assertEqual(shown.get_subject().CN, "a test")

    def test_separate_chain_file(self) -> None:
        single = TestCA("Other middle", self.ca)
        issued = single.issue("proxy.test")
        alone = TestCertificate(issued.certificate, issued.key)
        certificate, key = alone.write(self.directory, "alone")
        chain = single.write(self.directory, "chain")
        server = SSL.Connection(listener_context(ListenerTls(key, certificate, chain)), None)
        shake_hands(self.client(), server)
        server = SSL.Connection(listener_context(ListenerTls(key, certificate)), None)
        self.assertRaises(SSL.Error, shake_hands, self.client(), server)

    def test_no_old_versions(self) -> None:
        self.assertRaises(SSL.Error, shake_hands, self.client(version=SSL.TLS1_1_VERSION), self.server())

    def test_application_protocol(self) -> None:
        for offered, chosen in (([b"h2", b"http/1.1"], b"http/1.1"), ([b"h2"], b"")):
            client = self.client()
            client.set_alpn_protos(offered)
            shake_hands(client, self.server())
            self.assertEqual(client.get_alpn_proto_negotiated(), chosen)

    def accepted(self, mine: TestCertificate | None) -> SSL.Connection:
        client, server = self.client(mine), self.server(client_ca=self.client_ca)
        shake_hands(client, server)
        return server

    def test_client_certificates(self) -> None:
        for issuer in (self.clients, TestCA("Middle", self.clients)):
            shown = self.accepted(issuer.issue(usage=CLIENT, subject="runner-7")).get_peer_certificate()
            assert shown is not None
            self.assertEqual(shown.get_subject().CN, "runner-7")

    def test_rejected_client_certificates(self) -> None:
        for mine in (
            None,
            self_signed("runner-7"),
            TestCA("Strangers").issue(usage=CLIENT),
            # A CA of the proxy's own certificate is not a CA of clients.
            self.ca.issue(usage=CLIENT),
            self.clients.issue(usage=CLIENT, expired=True),
            # A server certificate of the same CA is not a client certificate.
            self.clients.issue("runner-7"),
        ):
            self.assertRaises(SSL.Error, self.accepted, mine)

    def test_names_of_client_cas(self) -> None:
        client, server = self.client(self.clients.issue(usage=CLIENT)), self.server(client_ca=self.client_ca)
        shake_hands(client, server)
        self.assertEqual([name.CN for name in client.get_client_ca_list()], ["Clients"])

    def test_no_resumption(self) -> None:
        """Otherwise a certificate that was revoked or expired meanwhile would still be accepted."""
        mine = self.clients.issue(usage=CLIENT)
        depths: list[int] = []

        def verify(_: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
            depths.append(depth)
            return bool(ok)

        context = listener_context(ListenerTls(self.key, self.certificate, client_ca=self.client_ca))
        context.set_verify(context.get_verify_mode(), verify)
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            first, server = self.client(mine, version), SSL.Connection(context, None)
            shake_hands(first, server)
            server.send(b"hello")
            move(server, first)
            self.assertEqual(first.recv(5), b"hello")
            session = first.get_session()
            assert session is not None
            depths.clear()
            second = SSL.Connection(first.get_context(), None)
            second.set_session(session)
            shake_hands(second, SSL.Connection(context, None))
            self.assertIn(0, depths)

    def test_no_resumption_without_client_certificates(self) -> None:
        """The keys of tickets would live as long as the process."""
        context = listener_context(ListenerTls(self.key, self.certificate))
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client = self.client(version=version)
            self.assertFalse(is_resumed(client.get_context(), context, context))

    def test_invalid_files(self) -> None:
        missing = self.directory / "missing.pem"
        garbage = self.directory / "garbage.pem"
        garbage.write_text("garbage")
        wrong = self.directory / "wrong.pem"
        wrong.write_bytes(key_pem_of(new_key()))
        for tls, words in (
            (ListenerTls(missing, self.certificate), f"{missing}: No such file"),
            (ListenerTls(self.key, missing), f"{missing}: No such file"),
            (ListenerTls(garbage, self.certificate), f"{garbage}: contains no readable PEM key; specify the file"),
            (ListenerTls(wrong, self.certificate), f"{wrong}: its key does not belong to the first certificate of"),
            (ListenerTls(self.key, self.certificate, garbage), f"{garbage}: contains no PEM certificate"),
            (ListenerTls(self.key, self.certificate, None, garbage), f"{garbage}: contains no PEM certificate"),
        ):
            with self.subTest(words):
                error = self.assertRaises(TrustError, listener_context, tls)
                self.assertTrue(error.reason.startswith(words), error.reason)
