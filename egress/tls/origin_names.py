"""The names of an origin's certificate (RFC 9525)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

import service_identity
from cryptography import x509
from service_identity.hazmat import DNS_ID, CertificatePattern, DNSPattern, IPAddress_ID, IPAddressPattern

from egress.model.authority import Authority
from egress.tls.pem import plain

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_SHOWN_NAMES = 5
# A host that is valid by all rules, and cannot be an address: its last label begins with a letter.
_PLAIN_HOST: Final = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z][a-z0-9_-]*")


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    """Read the extension with the names of a certificate.

    @raise ValueError: if the extension is not valid DER.
    """
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _is_plainly_for(host: str, names: x509.SubjectAlternativeName) -> bool:
    """Tell whether a name is equal to the host, or the wildcard for it.

    This is so for almost all certificates, and takes less than the comparison by the rules, which decides otherwise.
    """
    if _PLAIN_HOST.fullmatch(host) is None:
        return False
    label, _, domain = host.partition(".")
    wildcard = f"*.{domain}" if "." in domain and not label.startswith("xn--") else host
    return any(name in (host, wildcard) for name in names.get_values_for_type(x509.DNSName))


def _names_in(names: x509.SubjectAlternativeName) -> tuple[list[CertificatePattern], list[str], list[str]]:
    """Read the hosts and addresses of a certificate (RFC 9525 section 2.1: DNS-ID and IP-ID).

    An invalid name does not affect the other names, so it is ignored.  Examples are an address as a dNSName, and a
    wildcard that is not the whole leftmost label of at least three.  Names of other kinds (URIs, SRV names) never
    identify a host.

    @return: the names to compare, the same names as text, and the ignored names as text.
    """
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


def _may_match(pattern: CertificatePattern, host: str) -> bool:
    """Tell whether service_identity can compare a name with a host.

    A wildcard never matches a host of one label (RFC 9525 section 6.3). Release 24.1 fails on this comparison.
    """
    return "." in host or not isinstance(pattern, DNSPattern) or b"*" not in pattern.pattern


def _to_text(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(map(plain, names[:_SHOWN_NAMES])) + more


def name_fault(certificate: x509.Certificate, authority: Authority) -> str | None:
    """Compare the names of a certificate with the requested name (RFC 9525 section 6)."""
    names = _alternative_names(certificate)
    if names is None:
        return f"the certificate of {authority} contains no host name"
    address = authority.ip
    if address is None and _is_plainly_for(authority.host, names):
        return None
    wanted = DNS_ID(authority.host) if address is None else IPAddress_ID(authority.host)
    patterns, readable, ignored = _names_in(names)
    if any(_may_match(pattern, authority.host) and wanted.verify(pattern) for pattern in patterns):
        return None
    if ignored:
        problem = f"is for another host: {_to_text(readable)}" if readable else "contains no valid host name"
        return f"the certificate of {authority} {problem}; ignored invalid names: {_to_text(ignored)}"
    if readable:
        return f"the certificate of {authority} is for another host: {_to_text(readable)}"
    return f"the certificate of {authority} contains no host name"
