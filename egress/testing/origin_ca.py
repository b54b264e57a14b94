"""The CA of the origins in memory."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from egress.model.authority import Authority
from egress.tls.issuer import CertificateAuthority


class OriginCa:
    """Signs the certificates of origins.  The proxy trusts it by C{extra_ca_certs}.

    The certificates are valid now: OpenSSL uses the clock of the system, not that of the reactor.
    """

    def __init__(self) -> None:
        self._authority = CertificateAuthority.create("origins in memory", datetime.now(timezone.utc))
        self._contexts: dict[Authority, SSL.Context] = {}

    def write(self, path: Path) -> Path:
        """Write the certificate of the CA to a file, in PEM."""
        path.write_bytes(self._authority.certificate.public_bytes(Encoding.PEM))
        return path

    def context(self, authority: Authority) -> SSL.Context:
        """Return the TLS context of the server at an authority."""
        context = self._contexts.get(authority)
        if context is None:
            leaf = self._authority.issue(authority, datetime.now(timezone.utc))
            context = SSL.Context(SSL.TLS_SERVER_METHOD)
            context.use_certificate(crypto.X509.from_cryptography(leaf.certificate))
            context.use_privatekey(crypto.PKey.from_cryptography_key(leaf.key))
            self._contexts[authority] = context
        return context
