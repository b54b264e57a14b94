"""The peer of a TLS connection in memory: real OpenSSL over one end of a wire."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL, crypto

from egress.model.client_tls import ClientTls
from egress.runtime.threads import Offload
from egress.testing.tls import Bytes
from egress.testing.tls import TlsEnd as TlsEnd
from egress.tls.host_contexts import HostContexts
from egress.tls.issuer import CertificateAuthority
from tests.certificates import TestCertificate
from tests.threads import immediately


@lru_cache(maxsize=1)
def test_authority() -> CertificateAuthority:
    """The proxy's CA."""
    return CertificateAuthority.create("test", datetime.now(timezone.utc))


@lru_cache(maxsize=1)
def rsa_key() -> rsa.RSAPrivateKey:
    """A key that takes time to create."""
    return rsa.generate_private_key(65537, 2048)


def leaves(
    accepted: ClientTls = ClientTls.MODERN,
    in_thread: Offload = immediately,
    make_rsa_key: Callable[[], rsa.RSAPrivateKey] = rsa_key,
) -> HostContexts:
    """Leaf certificates of that CA; by default, no client waits for the RSA key."""
    return HostContexts(test_authority(), 16, time.time, in_thread, accepted=accepted, make_rsa_key=make_rsa_key)


def client_context(*, trusting: bool = True) -> SSL.Context:
    """A context for clients.

    @param trusting: whether the proxy's CA is trusted.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER)
    store = context.get_cert_store()
    assert store is not None
    if trusting:
        store.add_cert(crypto.X509.from_cryptography(test_authority().certificate))
    return context


def presenting(certificate: TestCertificate | None) -> SSL.Context:
    """A context for clients that accept every server.

    @param certificate: the client's own certificate.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if certificate is not None:
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.key)
    return context


class TlsClient(TlsEnd):
    """A client of the proxy."""

    def __init__(
        self,
        wire: Bytes,
        server_name: str | None = "origin.test",
        *,
        trusting: bool = True,
        context: SSL.Context | None = None,
        protocols: Sequence[bytes] = (),
    ) -> None:
        super().__init__(wire, SSL.Connection(context or client_context(trusting=trusting), None))
        if protocols:
            self.connection.set_alpn_protos(list(protocols))
        self.connection.set_connect_state()
        if server_name is not None:
            self.connection.set_tlsext_host_name(server_name.encode())

    def hello(self) -> bytes:
        """The first handshake message."""
        with suppress(SSL.WantReadError):
            self.connection.do_handshake()
        return self.connection.bio_read(1 << 16)


class TlsServer(TlsEnd):
    """An origin, or an upstream proxy.

    @ivar offered: the application protocols that the client offered; the server selects none of them.
    """

    def __init__(self, wire: Bytes, certificate: TestCertificate) -> None:
        self.offered: list[bytes] = []
        context = certificate.server_context()
        context.set_alpn_select_callback(self._select)
        super().__init__(wire, SSL.Connection(context, None))
        self.connection.set_accept_state()

    def _select(self, _: SSL.Connection, protocols: list[bytes]) -> Any:
        self.offered = protocols
        return SSL.NO_OVERLAPPING_PROTOCOLS
