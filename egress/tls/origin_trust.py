"""Certificate verification for the proxy as a TLS client of origins, authorization services and upstream proxies.

A certificate, including its names, is verified completely while OpenSSL verifies the chain: before the handshake
finishes, before a client certificate is sent, and before any HTTP data is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from egress.model.authority import Authority
from egress.model.errors import OriginCertificateInvalid, OriginError, OriginHttp2Only, OriginTlsFailed
from egress.model.protocol import ALPN_HTTP_1, ALPN_HTTP_2
from egress.model.tls_alert import alert_in, hint_at_certificate, reason_in, refuses_protocols
from egress.tls.contexts import tls_context
from egress.tls.ocsp import staple_fault
from egress.tls.origin_names import name_fault
from egress.tls.origin_policy import OriginTlsPolicy
from egress.tls.pem import plain, trust_certificates, use_certificate

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol
    from twisted.python.failure import Failure


_TRUST_HINT = "its CA can be added with --ssl-extra-ca-certs"
_PINNED_HINT = "for this host, only the CAs in --origin-tls are trusted"
# The reasons for which HTTP/2 was not offered.
_NOT_HERE: Final = "the proxy does not use for this connection: it cannot carry an upgrade or NTLM"
_TURNED_OFF: Final = "is turned off with --http2, or with http2 in --origin-tls"


class CertificateRejected(SSL.Error):
    """A handshake that ended because the peer's certificate was rejected.

    @ivar fault: the fault of the certificate.
    """

    def __init__(self, fault: OriginCertificateInvalid) -> None:
        # The format of OpenSSL's error queue, which Twisted inspects.
        super().__init__([("SSL routines", "", "certificate verify failed")])
        self.fault = fault


# -- descriptions of certificate faults


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _name(name: x509.Name) -> str:
    return f"'{plain(name.rfc4514_string())}'"


_ISSUER_UNKNOWN = "was issued by {issuer}, which is not trusted; {hint}"
_KEY_TOO_WEAK = "has a key that is too weak"
_NAME_NOT_PERMITTED = "is for a name that its CA may not sign for"

# Numbers and meanings: X509_STORE_CTX_get_error(3) and <openssl/x509_vfy.h>, which make them part of the ABI.
_FAULTS: Final[dict[int, str]] = {
    2: _ISSUER_UNKNOWN,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
    7: "has an invalid signature",  # X509_V_ERR_CERT_SIGNATURE_FAILURE
    9: "is not yet valid (before {begin})",  # X509_V_ERR_CERT_NOT_YET_VALID
    10: "has expired (on {end})",  # X509_V_ERR_CERT_HAS_EXPIRED
    18: "is self-signed and not trusted; {hint}",  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    19: "is a self-signed root that is not trusted; {hint}",  # X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    20: _ISSUER_UNKNOWN,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: _ISSUER_UNKNOWN,  # X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    22: "ends a chain that is too long",  # X509_V_ERR_CERT_CHAIN_TOO_LONG
    24: "has an issuer without a usable key",  # X509_V_ERR_NO_ISSUER_PUBLIC_KEY
    25: "is higher in the chain than it may be",  # X509_V_ERR_PATH_LENGTH_EXCEEDED
    26: "is not permitted for TLS servers",  # X509_V_ERR_INVALID_PURPOSE
    27: _ISSUER_UNKNOWN,  # X509_V_ERR_CERT_UNTRUSTED
    28: "is rejected by the system",  # X509_V_ERR_CERT_REJECTED
    32: "signed another certificate, which its key usage forbids",  # X509_V_ERR_KEYUSAGE_NO_CERTSIGN
    34: "has an unknown critical extension",  # X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION
    47: _NAME_NOT_PERMITTED,  # X509_V_ERR_PERMITTED_VIOLATION
    48: _NAME_NOT_PERMITTED,  # X509_V_ERR_EXCLUDED_VIOLATION
    66: _KEY_TOO_WEAK,  # X509_V_ERR_EE_KEY_TOO_SMALL
    67: _KEY_TOO_WEAK,  # X509_V_ERR_CA_KEY_TOO_SMALL
    68: "is signed with a hash that is too weak",  # X509_V_ERR_CA_MD_TOO_WEAK
    79: "signed another certificate, but is not a CA certificate",  # X509_V_ERR_INVALID_CA
}


def _chain_fault(certificate: x509.Certificate, number: int, depth: int, authority: Authority, hint: str) -> str:
    within = "" if depth == 0 else f" {_name(certificate.subject)} in the chain"
    fault = _FAULTS.get(number, f"cannot be verified (OpenSSL error {number})").format(
        issuer=_name(certificate.issuer),
        begin=_moment(certificate.not_valid_before_utc),
        end=_moment(certificate.not_valid_after_utc),
        hint=hint,
    )
    return f"the certificate{within} of {authority} {fault}"


# -- the handshake


class _VerifiedConnection(SSL.Connection):
    """A client connection whose handshake succeeds only after the certificate is verified for the authority.

    The state is stored in this object instead of the application data, which Twisted uses.
    """

    def __init__(self, context: SSL.Context, authority: Authority, hint: str = _TRUST_HINT) -> None:
        super().__init__(context, None)
        self._authority = authority
        self._hint = hint
        self._fault: OriginCertificateInvalid | None = None
        self._leaf: x509.Certificate | None = None
        self._issuer: crypto.X509 | None = None
        self._names_checked = False

    def verify_step(self, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
        """Process one step of the verification; OpenSSL reaches depth 0, the peer's own certificate, last.

        @return: whether to continue.  Never raises: a callback's exception cannot be caught.
        """
        if ok and depth:
            if depth == 1:
                self._issuer = certificate
            return True
        try:
            parsed = certificate.to_cryptography()
            authority, hint = self._authority, self._hint
            fault = name_fault(parsed, authority) if ok else _chain_fault(parsed, number, depth, authority, hint)
        except Exception as error:  # noqa: BLE001 - OpenSSL would ignore it and continue
            fault = f"a certificate in the chain of {self._authority} cannot be verified ({plain(str(error))})"
        if fault is not None:
            self._fault = OriginCertificateInvalid(fault)
            return False
        self._leaf = parsed
        self._names_checked = True
        return True

    def verify_staple(self, staple: bytes) -> bool:
        """Check the stapled response after the chain is verified.

        @param staple: the stapled response; empty if there was none.
        @return: whether to continue.  Never raises.
        """
        if self._leaf is None:
            # The chain was not verified: the handshake fails.
            return True
        try:
            issuer = self._issuer.to_cryptography() if staple and self._issuer is not None else None
            fault = staple_fault(staple, self._leaf, issuer, datetime.now(timezone.utc))
        except Exception as error:  # noqa: BLE001 - see verify_step
            fault = f"has a revocation status that cannot be verified ({plain(str(error))})"
        if fault is not None:
            self._fault = OriginCertificateInvalid(f"the certificate of {self._authority} {fault}")
        return fault is None

    def do_handshake(self) -> None:
        """Continue the handshake.

        @raise CertificateRejected: if the certificate was rejected.
        """
        try:
            super().do_handshake()
        except SSL.Error:
            if self._fault is not None:
                raise CertificateRejected(self._fault) from None
            raise
        if not self._names_checked:
            # OpenSSL verifies nothing in a resumed session or without a certificate.
            raise CertificateRejected(OriginCertificateInvalid(f"{self._authority} sent no certificate"))


def _verify(connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
    return cast(_VerifiedConnection, connection).verify_step(certificate, number, depth, ok)


def _verify_staple(connection: SSL.Connection, staple: bytes, _: object) -> bool:
    return cast(_VerifiedConnection, connection).verify_staple(staple)


# OpenSSL's errors for data that is not a TLS record.
_NOT_TLS = frozenset(
    {"wrong version number", "packet length too long", "http request", "bad record type", "record layer failure"}
)


def _handshake_fault(error: BaseException, oldest: str) -> str:
    """Describe a failed handshake, to follow "the TLS handshake with X failed: "."""
    if isinstance(error, ConnectionClosed):
        return "the connection was closed"
    reason = reason_in(error) if isinstance(error, SSL.Error) else None
    if reason is None:
        return plain(str(error)) or type(error).__name__
    if reason in _NOT_TLS:
        return "the server does not use TLS"
    if reason == "unsupported protocol":
        return f"the server does not support TLS {oldest} or later"
    alert = alert_in(error)
    if alert is None:
        return plain(reason)
    return f"the server rejected it with the alert {alert}{hint_at_certificate(alert)}"


@implementer(IOpenSSLClientConnectionCreator)
class OriginTls:
    """Starts verified TLS sessions with one authority, for C{TLSMemoryBIOFactory}.

    @param alpn: the application protocols to offer, the preferred one first.
    @param policy: the settings for the authority, if it has its own.
    @param http2: whether HTTP/2 is offered, unless the settings decide it.
    """

    def __init__(
        self,
        context: SSL.Context,
        authority: Authority,
        alpn: Sequence[bytes],
        policy: OriginTlsPolicy | None = None,
        *,
        http2: bool = True,
    ) -> None:
        self._context = context
        self._authority = authority
        if policy is not None and policy.http2 is not None:
            http2 = policy.http2
        self._alpn = [protocol for protocol in alpn if http2 or protocol != ALPN_HTTP_2]
        self._reason_without_http2 = _NOT_HERE if http2 else _TURNED_OFF
        self._hint = _TRUST_HINT if policy is None or policy.ca is None else _PINNED_HINT
        self._oldest = "1.2" if policy is None or policy.minimum_version == SSL.TLS1_2_VERSION else "1.3"

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See C{IOpenSSLClientConnectionCreator}."""
        connection = _VerifiedConnection(self._context, self._authority, self._hint)
        connection.request_ocsp()
        if self._authority.ip is None:
            # RFC 6066 section 3: a server name is never a literal address.
            connection.set_tlsext_host_name(self._authority.host.encode("ascii"))
        if self._alpn:
            connection.set_alpn_protos(self._alpn)
        return connection

    def explain(self, failure: Failure) -> OriginError:
        """Convert the failure of a handshake to an error.

        @param failure: the reason for the loss of the connection.
        """
        error = failure.value
        assert error is not None
        if self._alpn == [ALPN_HTTP_1] and isinstance(error, SSL.Error) and refuses_protocols(error):
            return OriginHttp2Only(
                f"{self._authority} does not support http/1.1 (alert no_application_protocol); most likely it "
                f"supports only HTTP/2, which {self._reason_without_http2}"
            )
        if isinstance(error, CertificateRejected):
            return error.fault
        return OriginTlsFailed(
            f"the TLS handshake with {self._authority} failed: {_handshake_fault(error, self._oldest)}"
        )


# -- the context


def _context(
    extra_ca_file: Path | None, client_certificate: Path | None, policy: OriginTlsPolicy | None
) -> SSL.Context:
    context = tls_context(SSL.TLS_CLIENT_METHOD)
    if policy is not None:
        context.set_min_proto_version(policy.minimum_version)
        client_certificate = policy.client_certificate
    if policy is not None and policy.ca is not None:
        extra_ca_file = policy.ca
    else:
        context.set_default_verify_paths()
    trust_certificates(context, extra_ca_file)
    if client_certificate is not None:
        use_certificate(context, client_certificate)
        _allow_post_handshake_auth(context)
    context.set_verify(SSL.VERIFY_PEER, _verify)
    context.set_ocsp_client_callback(_verify_staple)
    return context


def _allow_post_handshake_auth(context: SSL.Context) -> None:
    """Let servers request the certificate after the handshake, too (RFC 8446 section 4.6.2).

    Some servers request it after they have read the path of a request.  pyOpenSSL has no method for this, but exposes
    the required OpenSSL function.
    """
    allow = getattr(SSL._lib, "SSL_CTX_set_post_handshake_auth", None)  # type: ignore[attr-defined] # noqa: SLF001
    if allow is not None:
        allow(context._context, 1)  # noqa: SLF001 - see the docstring


class OriginTrust:
    """The verifying TLS client contexts: one shared context, which is built once.

    A context for each host would read the system's roots again, which takes 6 ms and a megabyte.  Only hosts with their
    own settings have their own context.

    @param extra_ca_file: a PEM file with certificates to trust in addition to the system's roots.  Each of them is a
        trust anchor: a root, an intermediate CA or a server's own certificate.
    @param client_certificate: a PEM file with the proxy's certificate, its chain and its key, which is sent to every
        server that requests one.
    @param origins: other settings for some hosts; if several match, the first applies.
    @param http2: whether HTTP/2 is offered to hosts without a setting for it.
    @raise TrustError: if one of the files cannot be used.
    """

    def __init__(
        self,
        extra_ca_file: Path | None = None,
        client_certificate: Path | None = None,
        origins: Sequence[OriginTlsPolicy] = (),
        *,
        http2: bool = True,
    ) -> None:
        self._http2 = http2
        self._context = _context(extra_ca_file, client_certificate, None)
        self._special = [(policy, _context(extra_ca_file, None, policy)) for policy in origins]

    def connection_creator(self, authority: Authority, alpn: Sequence[bytes] = ()) -> OriginTls:
        """Return the creator of TLS sessions with one authority.

        @param authority: the host and port of the server.
        @param alpn: the application protocols to offer, the preferred one first; without HTTP/2 where it is turned off.
        """
        for policy, context in self._special:
            if policy.applies_to(authority):
                return OriginTls(context, authority, alpn, policy, http2=self._http2)
        return OriginTls(self._context, authority, alpn, http2=self._http2)
