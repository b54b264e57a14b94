"""Whom the proxy trusts as a TLS client: origins, the authorization service, an C{https} upstream proxy.

A certificate is judged whole, its names included, while OpenSSL verifies the chain: before the handshake is finished,
before a client certificate is shown, and long before anything of HTTP is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import service_identity
from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity.hazmat import DNS_ID, CertificatePattern, DNSPattern, IPAddress_ID, IPAddressPattern
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from egress.model.authority import Authority
from egress.model.errors import OriginCertificateInvalid, OriginError, OriginHttp2Only, OriginTlsFailed
from egress.model.tls_alert import alert_in, hint_at_certificate, reason_in
from egress.tls.contexts import tls_context
from egress.tls.ocsp import staple_fault
from egress.tls.origin_policy import OriginTlsPolicy
from egress.tls.pem import plain, trust_certificates, use_certificate

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from twisted.protocols.tls import TLSMemoryBIOProtocol
    from twisted.python.failure import Failure


_TRUST_HINT = "its CA can be added with --ssl-extra-ca-certs"
_PINNED_HINT = "for this host only the CAs that --origin-tls names are"
_SHOWN_NAMES = 5


class CertificateRejected(SSL.Error):
    """A handshake that ended because the other side's certificate was turned down.

    @ivar fault: what was wrong with the certificate.
    """

    def __init__(self, fault: OriginCertificateInvalid) -> None:
        # In the form of OpenSSL's error queue, which Twisted looks into.
        super().__init__([("SSL routines", "", "certificate verify failed")])
        self.fault = fault


# -- words for what is wrong with a certificate


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _name(name: x509.Name) -> str:
    return f"'{plain(name.rfc4514_string())}'"


_ISSUER_UNKNOWN = "was issued by {issuer}, which is not trusted; {hint}"
_KEY_TOO_WEAK = "has a key that is too weak"
_NAME_NOT_PERMITTED = "is for a name for which its CA may not sign"

# Numbers and meanings: X509_STORE_CTX_get_error(3) and <openssl/x509_vfy.h>, where they are part of the ABI.
_FAULTS: Final[dict[int, str]] = {
    2: _ISSUER_UNKNOWN,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
    7: "has a signature that is wrong",  # X509_V_ERR_CERT_SIGNATURE_FAILURE
    9: "is not yet valid (before {begin})",  # X509_V_ERR_CERT_NOT_YET_VALID
    10: "has expired (on {end})",  # X509_V_ERR_CERT_HAS_EXPIRED
    18: "is self-signed and not trusted; {hint}",  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
    19: "is a self-signed root that is not trusted; {hint}",  # X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN
    20: _ISSUER_UNKNOWN,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: _ISSUER_UNKNOWN,  # X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
    22: "ends a chain that is too long",  # X509_V_ERR_CERT_CHAIN_TOO_LONG
    24: "has no usable key of its issuer",  # X509_V_ERR_NO_ISSUER_PUBLIC_KEY
    25: "stands higher in the chain than it may",  # X509_V_ERR_PATH_LENGTH_EXCEEDED
    26: "is not meant for TLS servers",  # X509_V_ERR_INVALID_PURPOSE
    27: _ISSUER_UNKNOWN,  # X509_V_ERR_CERT_UNTRUSTED
    28: "is one that the system rejects",  # X509_V_ERR_CERT_REJECTED
    32: "signed another, though its key usage forbids it",  # X509_V_ERR_KEYUSAGE_NO_CERTSIGN
    34: "has a critical extension that is not understood",  # X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION
    47: _NAME_NOT_PERMITTED,  # X509_V_ERR_PERMITTED_VIOLATION
    48: _NAME_NOT_PERMITTED,  # X509_V_ERR_EXCLUDED_VIOLATION
    66: _KEY_TOO_WEAK,  # X509_V_ERR_EE_KEY_TOO_SMALL
    67: _KEY_TOO_WEAK,  # X509_V_ERR_CA_KEY_TOO_SMALL
    68: "is signed with a hash that is too weak",  # X509_V_ERR_CA_MD_TOO_WEAK
    79: "signed another, though it is not one of a CA",  # X509_V_ERR_INVALID_CA
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


def _names_in(certificate: x509.Certificate) -> tuple[list[CertificatePattern], list[str], list[str]]:
    """Read the hosts and addresses that a certificate is for (RFC 9525 section 2.1: DNS-ID and IP-ID).

    A name that cannot be read says nothing about the names next to it, so it is ignored: an address as a dNSName, or a
    wildcard that is not the whole leftmost label of at least three.  Names of other kinds (URIs, SRV names) are never
    those of a host.

    @return: the names to compare, the same as text, and the text of those that are ignored.
    @raise ValueError: when the extension is not valid DER.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], [], []
    patterns: list[CertificatePattern] = []
    readable: list[str] = []
    ignored: list[str] = []
    for name in names.get_values_for_type(x509.DNSName):
        try:
            patterns.append(DNSPattern.from_bytes(name.encode("utf-8")))
        except service_identity.CertificateError:
            ignored.append(name)
        else:
            readable.append(name)
    for address in names.get_values_for_type(x509.IPAddress):
        patterns.append(IPAddressPattern(cast("IPv4Address | IPv6Address", address)))
        readable.append(str(address))
    return patterns, readable, ignored


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(map(plain, names[:_SHOWN_NAMES])) + more


def _name_fault(certificate: x509.Certificate, authority: Authority) -> str | None:
    """Compare the names in a certificate with the one that was asked for (RFC 9525 section 6)."""
    wanted = DNS_ID(authority.host) if authority.ip is None else IPAddress_ID(authority.host)
    patterns, readable, ignored = _names_in(certificate)
    if any(wanted.verify(pattern) for pattern in patterns):
        return None
    if ignored:
        kept = f"is for another host: {_listed(readable)}" if readable else "names no host that can be read"
        return f"the certificate of {authority} {kept}; ignored since they cannot be read: {_listed(ignored)}"
    if readable:
        return f"the certificate of {authority} is for another host: {_listed(readable)}"
    return f"the certificate of {authority} names no host"


# -- the handshake


class _VerifiedConnection(SSL.Connection):
    """A client connection whose handshake is over only when the certificate was found to be the authority's.

    The state is kept here and not in the application data, where Twisted puts something of its own.
    """

    def __init__(self, context: SSL.Context, authority: Authority, hint: str = _TRUST_HINT) -> None:
        super().__init__(context, None)
        self._authority = authority
        self._hint = hint
        self._fault: OriginCertificateInvalid | None = None
        self._leaf: x509.Certificate | None = None
        self._issuer: crypto.X509 | None = None
        self._names_checked = False

    def judge(self, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
        """Take one step of the verification; OpenSSL comes to depth 0, the other side's own certificate, last.

        @return: whether to go on.  Never raises: nobody could catch it.
        """
        if ok and depth:
            if depth == 1:
                self._issuer = certificate
            return True
        try:
            judged = certificate.to_cryptography()
            authority, hint = self._authority, self._hint
            fault = _name_fault(judged, authority) if ok else _chain_fault(judged, number, depth, authority, hint)
        except Exception as error:  # noqa: BLE001 - it would only be printed, and the handshake go on
            fault = f"a certificate in the chain of {self._authority} cannot be judged ({plain(str(error))})"
        if fault is not None:
            self._fault = OriginCertificateInvalid(fault)
            return False
        self._leaf = judged
        self._names_checked = True
        return True

    def judge_staple(self, staple: bytes) -> bool:
        """Look at what the issuer says of the certificate, once the chain was verified.

        @param staple: what came with the certificate; empty when nothing did.
        @return: whether to go on.  Never raises.
        """
        if self._leaf is None:
            # Nothing was judged: the handshake does not end well.
            return True
        try:
            issuer = self._issuer.to_cryptography() if staple and self._issuer is not None else None
            fault = staple_fault(staple, self._leaf, issuer, datetime.now(timezone.utc))
        except Exception as error:  # noqa: BLE001 - see judge
            fault = f"has a revocation status that cannot be judged ({plain(str(error))})"
        if fault is not None:
            self._fault = OriginCertificateInvalid(f"the certificate of {self._authority} {fault}")
        return fault is None

    def do_handshake(self) -> None:
        """Go on with the handshake.

        @raise CertificateRejected: when the certificate was turned down.
        """
        try:
            super().do_handshake()
        except SSL.Error:
            if self._fault is not None:
                raise CertificateRejected(self._fault) from None
            raise
        if not self._names_checked:
            # OpenSSL verifies nothing in a resumed session, nor without a certificate.
            raise CertificateRejected(OriginCertificateInvalid(f"{self._authority} has shown no certificate"))


def _judge(connection: SSL.Connection, certificate: crypto.X509, number: int, depth: int, ok: int) -> bool:
    return cast(_VerifiedConnection, connection).judge(certificate, number, depth, ok)


def _judge_staple(connection: SSL.Connection, staple: bytes, _: object) -> bool:
    return cast(_VerifiedConnection, connection).judge_staple(staple)


# What OpenSSL says when it meets something that is no TLS record.
_NOT_TLS = frozenset(
    {"wrong version number", "packet length too long", "http request", "bad record type", "record layer failure"}
)


def _handshake_fault(error: BaseException, oldest: str) -> str:
    """Put a failed handshake into words that follow "the TLS handshake with X failed: "."""
    if isinstance(error, ConnectionClosed):
        return "the connection was closed"
    reason = reason_in(error) if isinstance(error, SSL.Error) else None
    if reason is None:
        return plain(str(error)) or type(error).__name__
    if reason in _NOT_TLS:
        return "what answers there does not speak TLS"
    if reason == "unsupported protocol":
        return f"the other side speaks no TLS from version {oldest} on"
    alert = alert_in(error)
    if alert is None:
        return plain(reason)
    return f"the other side refused it with the alert {alert}{hint_at_certificate(alert)}"


def _refuses_protocols(error: SSL.Error) -> bool:
    """Whether the other side speaks none of the protocols that were offered (RFC 7301 section 3.2).

    OpenSSL 3.2 has no words for this alert.  It has for all others that a client without a pre-shared key gets.
    """
    return alert_in(error) == "no_application_protocol" or reason_in(error) == ""


@implementer(IOpenSSLClientConnectionCreator)
class OriginTls:
    """Begins verified TLS sessions with one authority, for C{TLSMemoryBIOFactory}."""

    def __init__(
        self, context: SSL.Context, authority: Authority, alpn: Sequence[bytes], terms: OriginTlsPolicy | None = None
    ) -> None:
        self._context = context
        self._authority = authority
        self._alpn = list(alpn)
        self._hint = _TRUST_HINT if terms is None or terms.ca is None else _PINNED_HINT
        self._oldest = "1.2" if terms is None or terms.minimum_version == SSL.TLS1_2_VERSION else "1.3"

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """See L{IOpenSSLClientConnectionCreator}."""
        connection = _VerifiedConnection(self._context, self._authority, self._hint)
        connection.request_ocsp()
        if self._authority.ip is None:
            # RFC 6066 section 3: a server name is never a literal address.
            connection.set_tlsext_host_name(self._authority.host.encode("ascii"))
        if self._alpn:
            connection.set_alpn_protos(self._alpn)
        return connection

    def explain(self, failure: Failure) -> OriginError:
        """Put a failed handshake into words.

        @param failure: with which the connection was lost.
        """
        error = failure.value
        assert error is not None
        if self._alpn and isinstance(error, SSL.Error) and _refuses_protocols(error):
            offered = b", ".join(self._alpn).decode("ascii")
            return OriginHttp2Only(
                f"{self._authority} does not speak {offered} (alert no_application_protocol), most likely HTTP/2 "
                f"alone, which the proxy does not speak"
            )
        if isinstance(error, CertificateRejected):
            return error.fault
        return OriginTlsFailed(
            f"the TLS handshake with {self._authority} failed: {_handshake_fault(error, self._oldest)}"
        )


# -- the context


def _context(extra_ca_file: Path | None, client_certificate: Path | None, terms: OriginTlsPolicy | None) -> SSL.Context:
    context = tls_context(SSL.TLS_CLIENT_METHOD)
    if terms is not None:
        context.set_min_proto_version(terms.minimum_version)
        client_certificate = terms.client_certificate
    if terms is not None and terms.ca is not None:
        extra_ca_file = terms.ca
    else:
        context.set_default_verify_paths()
    trust_certificates(context, extra_ca_file)
    if client_certificate is not None:
        use_certificate(context, client_certificate)
        _allow_later_request(context)
    context.set_verify(SSL.VERIFY_PEER, _judge)
    context.set_ocsp_client_callback(_judge_staple)
    return context


def _allow_later_request(context: SSL.Context) -> None:
    """Let servers ask for the certificate after the handshake, too (RFC 8446 section 4.6.2).

    Some do once they have seen the path of a request.  pyOpenSSL has no method for it, and gives what it would need.
    """
    allow = getattr(SSL._lib, "SSL_CTX_set_post_handshake_auth", None)  # type: ignore[attr-defined]
    if allow is not None:
        allow(context._context, 1)


class OriginTrust:
    """Whom to trust, and as whom to appear: one verifying client context, built once and shared.

    A context of its own for each host would read the system's roots again, for each 6 ms and a megabyte.  Only hosts
    with terms of their own have one.

    @param extra_ca_file: a PEM file with certificates to trust besides the system's roots; each is an anchor by itself,
        be it a root, an intermediate CA or a server's own certificate.
    @param client_certificate: a PEM file with a certificate, those that lead to its root, and its key, shown to whoever
        asks for one.
    @param origins: what holds for some hosts instead; of several that match, the first.
    @raise TrustError: when one of the files cannot be used.
    """

    def __init__(
        self,
        extra_ca_file: Path | None = None,
        client_certificate: Path | None = None,
        origins: Sequence[OriginTlsPolicy] = (),
    ) -> None:
        self._context = _context(extra_ca_file, client_certificate, None)
        self._special = [(terms, _context(extra_ca_file, None, terms)) for terms in origins]

    def connection_creator(self, authority: Authority, alpn: Sequence[bytes] = ()) -> OriginTls:
        """Give what begins a TLS session with one authority.

        @param alpn: the application protocols to offer, the preferred one first.
        """
        for terms, context in self._special:
            if terms.hold_for(authority):
                return OriginTls(context, authority, alpn, terms)
        return OriginTls(self._context, authority, alpn)
