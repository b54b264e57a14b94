"""Name constraints: the hosts for which a CA may sign (RFC 5280 section 4.2.1.10).  This module uses no file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from cryptography import x509

from egress.model.authority import Authority

IPNetwork = IPv4Network | IPv6Network

_EVERY_ADDRESS: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def name_constraints(permitted: Sequence[str | IPNetwork]) -> x509.NameConstraints:
    """Create name constraints that limit a CA to hosts.

    A kind of name without a constraint is unlimited, so each kind without an entry is excluded.

    @param permitted: names, each with its subdomains, and ranges of addresses; at least one.
    """
    names = [x509.DNSName(entry) for entry in permitted if isinstance(entry, str)]
    networks = [entry for entry in permitted if not isinstance(entry, str)]
    versions = {network.version for network in networks}
    excluded: list[x509.GeneralName] = [] if names else [x509.DNSName("")]
    excluded += [x509.IPAddress(every) for every in _EVERY_ADDRESS if every.version not in versions]
    return x509.NameConstraints([*names, *map(x509.IPAddress, networks)], excluded or None)


def constraints_of(certificate: x509.Certificate) -> x509.NameConstraints | None:
    """Return the name constraints of a certificate, if it has any.

    @raise ValueError: if they cannot be read.
    """
    try:
        return certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return None


def permits(constraints: x509.NameConstraints, authority: Authority) -> bool:
    """Tell whether a certificate that contains only a host's name satisfies the constraints."""
    if any(_falls_under(authority, name) for name in constraints.excluded_subtrees or ()):
        return False
    kind = x509.DNSName if authority.ip is None else x509.IPAddress
    permitted = [name for name in constraints.permitted_subtrees or () if isinstance(name, kind)]
    return not permitted or any(_falls_under(authority, name) for name in permitted)


def _falls_under(authority: Authority, name: x509.GeneralName) -> bool:
    address = authority.ip
    if isinstance(name, x509.IPAddress):
        network = name.value
        return address is not None and isinstance(network, IPv4Network | IPv6Network) and address in network
    if isinstance(name, x509.DNSName) and address is None:
        base = name.value.lower()
        # A leading dot is not part of the standard; implementations that support it apply it to the subdomains.
        return not base or authority.host == base or authority.host.endswith(f".{base.removeprefix('.')}")
    return False


def describe(constraints: x509.NameConstraints) -> str:
    """Format constraints in readable form."""
    permitted = _to_text(constraints.permitted_subtrees)
    # Constraints that only exclude a kind of name without an entry are omitted.
    excluded = _to_text(name for name in constraints.excluded_subtrees or () if not _is_everything(name))
    words = permitted or "every host"
    return f"{words} except {excluded}" if excluded else words


def _is_everything(name: x509.GeneralName) -> bool:
    return name.value in ("", *_EVERY_ADDRESS)


def _to_text(names: Iterable[x509.GeneralName] | None) -> str:
    return ", ".join(str(name.value) for name in names or ())
