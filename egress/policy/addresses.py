"""The address guard: where nobody may be sent, whatever the authorizer says."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from zope.interface import implementer

from egress.config import IPNetwork
from egress.interfaces import IAddressGuard
from egress.model.authority import Authority, IPAddress

# Source: the IANA special-purpose address registries (RFC 6890), written out because what the standard library calls
# "private" or "reserved" differs between Python versions.
_FORBIDDEN: Final[tuple[tuple[str, str], ...]] = (
    ("0.0.0.0/8", "an unspecified address"),
    ("127.0.0.0/8", "a loopback address"),
    ("169.254.0.0/16", "a link-local address, where the metadata services of clouds live"),
    ("192.0.0.192/32", "a metadata service of a cloud"),
    ("100.100.100.200/32", "a metadata service of a cloud"),
    ("192.0.2.0/24", "a reserved address"),
    ("198.51.100.0/24", "a reserved address"),
    ("203.0.113.0/24", "a reserved address"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "an unspecified address"),
    ("::1/128", "a loopback address"),
    ("fe80::/10", "a link-local address, where the metadata services of clouds live"),
    ("fd00:ec2::254/128", "a metadata service of a cloud"),
    ("fec0::/10", "a reserved address"),
    ("100::/64", "a reserved address"),
    ("2001:db8::/32", "a reserved address"),
    ("ff00::/8", "a multicast address"),
)
_PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7")

_Network = IPv4Network | IPv6Network
_FORBIDDEN_NETWORKS: Final = tuple((ip_network(text), what) for text, what in _FORBIDDEN)
_PRIVATE_NETWORKS: Final = tuple(ip_network(text) for text in _PRIVATE)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_METADATA_NAMES: Final = frozenset({"metadata.google.internal", "metadata.goog", "instance-data.ec2.internal"})


def embedded(address: IPAddress) -> IPAddress:
    """The IPv4 address that a transition mechanism would take a packet to (RFC 4291, 6052, 3056, 4380)."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


@lru_cache(maxsize=4096)
def _forbidden(address: IPAddress) -> str | None:
    real = embedded(address)
    return next((what for network, what in _FORBIDDEN_NETWORKS if real in network), None)


def is_private(address: IPAddress) -> bool:
    """Whether an address belongs to an internal network (RFC 1918, 4193, 6598, 2544)."""
    real = embedded(address)
    return any(real in network for network in _PRIVATE_NETWORKS)


@implementer(IAddressGuard)
class AddressGuard:
    """Refuses what is dangerous wherever a proxy runs: this machine, the metadata services, and ourselves.

    @param allow: ranges that are let through nevertheless; never ourselves.
    @param is_local: whether an address is one of this machine's; asked where a listener is bound to all of them.
    @param block_private: whether internal networks are refused as well.
    """

    def __init__(
        self,
        allow: tuple[IPNetwork, ...] = (),
        *,
        is_local: Callable[[IPAddress], bool],
        block_private: bool = False,
    ) -> None:
        self._allow = allow
        self._is_local = is_local
        self._block_private = block_private
        self._listeners: set[tuple[IPAddress, int]] = set()

    def add_listener(self, address: IPAddress, port: int) -> None:
        """Remember where the proxy itself listens."""
        self._listeners.add((address, port))

    def _is_ourselves(self, address: IPAddress, port: int) -> bool:
        real = embedded(address)
        for listener, listening_port in self._listeners:
            if port == listening_port and (
                listener == real or (listener.is_unspecified and (real.is_unspecified or self._is_local(real)))
            ):
                return True
        return False

    def refusal(self, address: IPAddress, port: int) -> str | None:
        """Classify an address; see L{IAddressGuard.refusal}."""
        if self._is_ourselves(address, port):
            return f"{address} port {port} is the proxy itself"
        if any(address in network or embedded(address) in network for network in self._allow):
            return None
        what = _forbidden(address)
        if what is None and self._block_private and is_private(address):
            what = "a private address"
        if what is None:
            return None
        return f"{address} is {what}; the operator can open it with --allow-address"

    def name_refusal(self, authority: Authority) -> str | None:
        """Classify what an upstream proxy will resolve; see L{IAddressGuard.name_refusal}."""
        literal = authority.ip
        if literal is not None:
            return self.refusal(literal, authority.port)
        if authority.host == "localhost" or authority.host.endswith(".localhost"):
            # RFC 6761 section 6.3.
            return self.refusal(ip_address("127.0.0.1"), authority.port)
        if authority.host in _METADATA_NAMES:
            return self.refusal(ip_address("169.254.169.254"), authority.port)
        return None
