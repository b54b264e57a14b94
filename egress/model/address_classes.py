"""The classification of IP addresses: the tables behind the address guard."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

from egress.model.authority import IPAddress

_LINK_LOCAL: Final = "a link-local address, which cloud metadata services use"
_METADATA: Final = "a cloud metadata service"
_RESERVED: Final = "a reserved address"

# Source: the IANA special-purpose address registries (RFC 6890).  The table is explicit because the standard library's
# definitions of "private" and "reserved" differ between Python versions.  The first network that matches decides.
_FORBIDDEN: Final = tuple(
    (ip_network(text), what)
    for text, what in (
        ("0.0.0.0/8", "an unspecified address, which connects to this machine"),  # RFC 1122 section 3.2.1.3
        ("127.0.0.0/8", "a loopback address"),  # RFC 1122 section 3.2.1.3
        ("169.254.0.0/16", _LINK_LOCAL),  # RFC 3927
        ("100.100.100.200/32", _METADATA),  # Alibaba Cloud, in the shared address space
        ("168.63.129.16/32", _METADATA),  # Azure's WireServer, a public address that never leaves the host
        ("192.0.0.192/32", _METADATA),  # Oracle Cloud at Customer, "Retrieve Predefined Instance Metadata"
        ("192.0.0.0/24", _RESERVED),  # protocol assignments, RFC 6890
        ("192.0.2.0/24", _RESERVED),  # TEST-NET-1, RFC 5737
        ("192.88.99.0/24", _RESERVED),  # 6to4 relays, RFC 7526
        ("198.51.100.0/24", _RESERVED),  # TEST-NET-2
        ("203.0.113.0/24", _RESERVED),  # TEST-NET-3
        ("224.0.0.0/4", "a multicast address"),  # RFC 5771
        ("255.255.255.255/32", "the broadcast address"),  # RFC 919
        ("240.0.0.0/4", _RESERVED),  # RFC 1112 section 4
        ("::/128", "an unspecified address, which connects to this machine"),  # RFC 4291 section 2.5.2
        ("::1/128", "a loopback address"),
        ("::/96", _RESERVED),  # "IPv4-compatible", deprecated by RFC 4291 section 2.5.5.1
        ("64:ff9b:1::/48", "an address of a translator, with an unknown destination"),  # RFC 8215
        ("100::/64", _RESERVED),  # discard-only, RFC 6666
        ("100:0:0:1::/64", _RESERVED),  # RFC 9780
        ("2001:10::/28", _RESERVED),  # ORCHID, RFC 4843
        ("2001:db8::/32", _RESERVED),  # RFC 3849
        ("3fff::/20", _RESERVED),  # RFC 9637
        ("5f00::/16", _RESERVED),  # RFC 9602
        ("fd00:42::42/128", _METADATA),  # Scaleway
        ("fd00:c1::a9fe:a9fe/128", _METADATA),  # Oracle Cloud Infrastructure
        ("fd00:ec2::/32", _METADATA),  # AWS: ::254 the instances', ::23 that of pods
        ("fd20:ce::254/128", _METADATA),  # Google Cloud
        ("fe80::/10", _LINK_LOCAL),
        ("fec0::/10", _RESERVED),  # site-local, deprecated by RFC 3879
        ("ff00::/8", "a multicast address"),
    )
)

_PRIVATE: Final = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8",  # RFC 1918, this and the next two
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # shared between carrier and customer, RFC 6598
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "2001:2::/48",  # the same, RFC 5180
        "fc00::/7",  # RFC 4193
    )
)

# The last 32 bits are the IPv4 address.  The prefixes are mapped (RFC 4291 section 2.5.5.2), translated (RFC 2765
# section 2.1), and the well-known prefix of NAT64 (RFC 6052 section 2.1).
_LAST_BITS: Final = tuple(ip_network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))

# Names under which clouds serve metadata to their machines: an upstream proxy in such a cloud can resolve them.
METADATA_NAMES: Final = frozenset(
    {
        "instance-data",  # AWS, and with its domain
        "instance-data.ec2.internal",
        "metadata",  # Google, and with its domains
        "metadata.google.internal",
        "metadata.goog",
        "metadata.tencentyun.com",
        "api.metadata.cloud.ibm.com",
    }
)


def embedded(address: IPAddress) -> IPAddress:
    """Return the IPv4 address to which a transition mechanism delivers a packet, or C{address} if it embeds none.

    Mapped and translated addresses, NAT64, 6to4 (RFC 3056), Teredo (RFC 4380) and ISATAP (RFC 5214 section 6.1).
    """
    if isinstance(address, IPv4Address):
        return address
    bits = int(address)
    if any(address in network for network in _LAST_BITS) or (bits >> 32) & 0xFCFFFFFF == 0x5EFE:
        return IPv4Address(bits & 0xFFFFFFFF)
    return address.sixtofour or _teredo_client(address) or address


def _teredo_client(address: IPv6Address) -> IPv4Address | None:
    teredo = address.teredo
    return teredo[1] if teredo is not None else None


@lru_cache(maxsize=4096)
def forbidden(address: IPAddress) -> str | None:
    """Return why no request may be sent to this address, or C{None} if it is permitted."""
    for one in (embedded(address), address):
        for network, what in _FORBIDDEN:
            if one in network:
                return what
    return None


# The class of each description in the table above.
_CLASSES: Final = {
    "an unspecified address, which connects to this machine": "unspecified",
    "a loopback address": "loopback",
    _LINK_LOCAL: "link-local",
    _METADATA: "metadata",
    _RESERVED: "reserved",
    "a multicast address": "multicast",
    "the broadcast address": "broadcast",
    "an address of a translator, with an unknown destination": "reserved",
}

CLASSES: Final = frozenset({*_CLASSES.values(), "private", "public"})
"""The classes of addresses that L{classes} knows."""

_LINK_LOCAL_METADATA: Final = tuple(ip_network(text) for text in ("169.254.0.0/16", "fe80::a9fe:a9fe/128"))


@lru_cache(maxsize=4096)
def classes(address: IPAddress) -> frozenset[str]:
    """Return the classes of an address; they include the classes of an embedded address."""
    found = set()
    for one in (embedded(address), address):
        what = next((what for network, what in _FORBIDDEN if one in network), None)
        if what is not None:
            found.add(_CLASSES[what])
        if any(one in network for network in _LINK_LOCAL_METADATA):
            found.add("metadata")
    if is_private(address):
        found.add("private")
    return frozenset(found or {"public"})


@lru_cache(maxsize=4096)
def is_private(address: IPAddress) -> bool:
    """Whether an address belongs to an internal network.  A forbidden address can also be private."""
    real = embedded(address)
    return any(real in network or address in network for network in _PRIVATE)
