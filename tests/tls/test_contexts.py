"""Tests for L{egress.tls.contexts}; the tests of the client and origin contexts cover old protocols."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from egress.tls import contexts
from egress.tls.contexts import LoadedKey, tls_context, use_certificate
from tests.certificates import self_signed


class TlsContextTests(SynchronousTestCase):
    """The settings of client and origin contexts."""

    def test_settings(self) -> None:
        for method in (SSL.TLS_SERVER_METHOD, SSL.TLS_CLIENT_METHOD):
            with self.subTest(method):
                context = tls_context(method)
                self.assertEqual(context.get_session_cache_mode(), SSL.SESS_CACHE_OFF)
                self.assertTrue(context.set_mode(0) & SSL.MODE_RELEASE_BUFFERS)
                if hasattr(context, "clear_mode"):
                    self.assertFalse(context.set_mode(0) & 1)
                self.assertTrue(context.set_options(0) & SSL.OP_NO_COMPRESSION)


class UseCertificateTests(SynchronousTestCase):
    """A certificate in DER."""

    def check(self) -> None:
        issued = self_signed("origin.test")
        context = tls_context(SSL.TLS_SERVER_METHOD)
        use_certificate(context, issued.certificate.public_bytes(Encoding.DER))
        LoadedKey(issued.key).use_in(context)
        context.check_privatekey()
        self.assertEqual(SSL.Connection(context, None).get_certificate(as_cryptography=True), issued.certificate)

    def test_used(self) -> None:
        self.check()

    def test_by_public_methods(self) -> None:
        """A release of pyOpenSSL with other bindings."""
        self.patch(contexts, "_call", lambda *_: False)
        self.check()


class LoadedKeyTests(SynchronousTestCase):
    """A key for many contexts."""

    def test_contexts(self) -> None:
        issued = self_signed("origin.test")
        key = LoadedKey(issued.key)
        for _ in range(2):
            context = tls_context(SSL.TLS_SERVER_METHOD)
            context.use_certificate(issued.certificate)
            key.use_in(context)
            context.check_privatekey()

    def test_wrong_key(self) -> None:
        context = tls_context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(self_signed("origin.test").certificate)
        self.assertRaises(SSL.Error, LoadedKey(self_signed("other.test").key).use_in, context)
