"""Tests for L{egress.tls.contexts}; the tests of the client and origin contexts cover old protocols."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from egress.tls.contexts import tls_context


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
