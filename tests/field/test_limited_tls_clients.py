"""TLS 1.2 clients that are limited to RSA, P-384, CCM or CBC.

As reported for other intercepting proxies: C{joeferner/node-http-mitm-proxy#130}, C{mitmproxy/mitmproxy#5941}.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto

from egress.model.client_tls import ClientTls
from tests.proxy.fakes import response, status_of
from tests.proxy.tunnels import InterceptTestCase, inner
from tests.threads import Later
from tests.transport.tls import TlsClient, client_context, leaves, rsa_key

MODERN, COMPATIBLE = ClientTls.MODERN, ClientTls.COMPATIBLE


class LimitedClientsTests(InterceptTestCase):
    """The cipher suites and leaf certificates of clients with limited support."""

    def context(
        self, ciphers: bytes, group: str | None = None, signatures: bytes | None = None, *, tls13: bool = False
    ) -> SSL.Context:
        context = client_context()
        if not tls13:
            context.set_max_proto_version(SSL.TLS1_2_VERSION)
            context.set_cipher_list(ciphers)
        if group is not None:
            with warnings.catch_warnings():
                # Older versions support nothing else.
                warnings.simplefilter("ignore")
                context.set_tmp_ecdh(crypto.get_elliptic_curve(group))
        if signatures is not None:
            lib = SSL._lib  # type: ignore[attr-defined] # noqa: SLF001 - pyOpenSSL has no method for it
            self.assertEqual(lib.SSL_CTX_set1_sigalgs_list(context._context, signatures), 1)  # noqa: SLF001
        return context

    def served(self, accepted: ClientTls, context: SSL.Context) -> tuple[str, object]:
        """Send a request as a client.

        @return: the cipher suite, and the public key of the leaf.
        """
        self.build(leaves=leaves(accepted))
        self.tunnel()
        client = TlsClient(self.client, context=context)
        client.shake()
        client.send(inner())
        self.origin.feed(response())
        self.assertEqual(status_of(client.take()), 200)
        certificate = client.connection.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return client.connection.get_cipher_name() or "", certificate.public_key()

    def refused(self, accepted: ClientTls, context: SSL.Context) -> None:
        self.build(leaves=leaves(accepted))
        self.tunnel()
        self.assertRaises(SSL.Error, TlsClient(self.client, context=context).shake)
        self.clock.advance(0)
        (record,) = self.records
        self.assertEqual(record.outcome, "client-tls-failed")
        self.assertIn("no shared cipher", record.reason)

    def test_rsa(self) -> None:
        """The client gets an RSA leaf, signed by the same CA."""
        for suite in (b"ECDHE-RSA-AES128-GCM-SHA256", b"ECDHE-RSA-AES256-GCM-SHA384", b"ECDHE-RSA-CHACHA20-POLY1305"):
            for accepted in ClientTls:
                name, key = self.served(accepted, self.context(suite))
                self.assertEqual(name.encode(), suite)
                assert isinstance(key, rsa.RSAPublicKey)
                self.assertEqual(key.key_size, 2048)

    def test_rsa_in_tls_1_3(self) -> None:
        _, key = self.served(MODERN, self.context(b"", None, b"RSA-PSS+SHA256", tls13=True))
        self.assertIsInstance(key, rsa.RSAPublicKey)

    def test_p_384(self) -> None:
        """The curve is accepted for the key exchange, and for the certificate where necessary."""
        for suite, kind in (
            (b"ECDHE-ECDSA-AES256-GCM-SHA384", ec.EllipticCurvePublicKey),
            (b"ECDHE-RSA-AES256-GCM-SHA384", rsa.RSAPublicKey),
        ):
            name, key = self.served(MODERN, self.context(suite, "secp384r1"))
            self.assertEqual(name.encode(), suite)
            self.assertIsInstance(key, kind)
            if isinstance(key, ec.EllipticCurvePublicKey):
                self.assertEqual(key.curve.name, "secp384r1")

    def test_cbc_and_ccm(self) -> None:
        """They are available only when the operator enables them."""
        for suite in (
            *(b"ECDHE-ECDSA-AES128-SHA", b"ECDHE-ECDSA-AES128-SHA256", b"ECDHE-ECDSA-AES256-CCM"),
            *(b"ECDHE-RSA-AES128-SHA", b"ECDHE-RSA-AES256-SHA384", b"ECDHE-ECDSA-AES128-CCM"),
        ):
            context = self.context(suite)
            self.refused(MODERN, context)
            self.assertEqual(self.served(COMPATIBLE, context)[0].encode(), suite)

    def test_no_forward_secrecy(self) -> None:
        """Key exchange without forward secrecy is never accepted."""
        for accepted in ClientTls:
            self.refused(accepted, self.context(b"AES128-GCM-SHA256:AES128-SHA"))

    def test_the_better_suite(self) -> None:
        """A client that supports AEAD only with RSA gets that, not CBC with ECDSA."""
        context = self.context(b"ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256")
        for accepted in ClientTls:
            self.assertEqual(self.served(accepted, context)[0], "ECDHE-RSA-AES128-GCM-SHA256")

    def test_others(self) -> None:
        """All other clients are unaffected."""
        for context in (self.context(b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"), client_context()):
            _, key = self.served(MODERN, context)
            assert isinstance(key, ec.EllipticCurvePublicKey)
            self.assertEqual(key.curve.name, "secp256r1")


class FirstRsaClientTests(InterceptTestCase):
    """Only the first client that needs the RSA key waits for it."""

    def setUp(self) -> None:
        super().setUp()
        threads = Later()
        self.begun = threads.begun
        self.make_key: Callable[[], rsa.RSAPrivateKey] = rsa_key
        self.build(leaves=leaves(in_thread=threads, make_rsa_key=lambda: self.make_key()))
        self.context = client_context()
        self.context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.context.set_cipher_list(b"ECDHE-RSA-AES128-GCM-SHA256")

    def begin(self) -> TlsClient:
        self.tunnel()
        client = TlsClient(self.client, context=self.context)
        self.client.feed(client.hello())
        return client

    def test_waiting(self) -> None:
        client = self.begin()
        self.assertEqual((self.client.take(), len(self.begun)), (b"", 1))
        self.begun[0]()
        client.shake().send(inner())
        self.origin.feed(response())
        self.assertEqual(status_of(client.take()), 200)

    def test_data_after_the_hello_meanwhile(self) -> None:
        """It is not read."""
        self.begin()
        self.client.feed(b"more")
        self.assertTrue(self.client.paused)
        self.begun[0]()
        self.assertFalse(self.client.paused)

    def test_disconnecting(self) -> None:
        self.begin()
        self.client.lose()
        self.assertEqual(self.outcomes(), ["client-tls-failed"])
        self.begun[0]()
        self.assertEqual(self.outcomes(), ["client-tls-failed"])

    def test_timeout(self) -> None:
        self.begin()
        self.clock.advance(15)
        self.clock.advance(0)
        self.assertEqual(self.outcomes(), ["client-tls-failed"])
        self.assertTrue(self.client.aborted)

    def test_failure(self) -> None:
        def broken() -> rsa.RSAPrivateKey:
            raise RuntimeError("no entropy")

        self.make_key = broken
        self.begin()
        self.begun[0]()
        self.assertEqual(self.outcomes(), ["internal-error"])
        self.assertTrue(self.client.aborted)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
