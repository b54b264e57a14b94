"""The address guard: the addresses that no request may reach, regardless of the authorizer's decision."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

from zope.interface import classImplements

from egress.config.model import IPNetwork
from egress.interfaces import IAddressGuard
from egress.model.address_classes import METADATA_NAMES, embedded, forbidden, is_private
from egress.model.authority import Authority, IPAddress


class AddressGuard:
    """Refuses the addresses that are dangerous on every machine: the machine itself, metadata services and the proxy.

    @param allow: the ranges that are exempt; the proxy's own listeners are refused even in these ranges.
    @param is_local: tells whether an address belongs to this machine; called for listeners that are bound to all
        addresses.
    @ivar block_private: whether private addresses are refused as well; a reload can change it.
    @param deny: the ranges that are refused, even if C{allow} contains them.
    @param ports: the only ports that may be contacted; if empty, every port may be contacted.
    """

    def __init__(
        self,
        allow: tuple[IPNetwork, ...] = (),
        *,
        is_local: Callable[[IPAddress], bool],
        block_private: bool = False,
        deny: tuple[IPNetwork, ...] = (),
        ports: tuple[range, ...] = (),
    ) -> None:
        self._allow = allow
        self._deny = deny
        self._ports = ports
        self._is_local = is_local
        self.block_private = block_private
        self._listeners: set[tuple[IPAddress, int]] = set()

    def add_listener(self, address: IPAddress, port: int) -> None:
        """Add an address on which the proxy itself listens."""
        self._listeners.add((address, port))

    def is_the_proxy(self, address: IPAddress, port: int) -> bool:
        """Tell whether the proxy listens on an address; see L{IAddressGuard.is_the_proxy}."""
        real = embedded(address)
        for listener, listening_port in self._listeners:
            # A connection to the unspecified address reaches this machine, whichever address the listener is bound to.
            if port == listening_port and (
                real.is_unspecified or listener == real or (listener.is_unspecified and self._is_local(real))
            ):
                return True
        return False

    def refusal(self, address: IPAddress, port: int) -> str | None:
        """Classify an address; see L{IAddressGuard.refusal}."""
        if self.is_the_proxy(address, port):
            return f"{address} port {port} is the proxy itself"
        if _within(address, self._deny):
            return f"{address} is in a range of --deny-address"
        if _within(address, self._allow):
            return None
        what = forbidden(address)
        if what is None and self.block_private and is_private(address):
            what = "a private address"
        if what is None:
            return None
        return f"{address} is {what}; the operator can allow it with --allow-address"

    def port_refusal(self, port: int) -> str | None:
        """Classify a port; see L{IAddressGuard.port_refusal}."""
        if not self._ports or any(port in ports for ports in self._ports):
            return None
        return f"port {port} is not listed in --allow-ports"

    def name_refusal(self, authority: Authority) -> str | None:
        """Classify a name that an upstream proxy resolves; see L{IAddressGuard.name_refusal}."""
        literal = authority.ip
        if literal is not None:
            return self.refusal(literal, authority.port)
        if authority.host == "localhost" or authority.host.endswith(".localhost"):
            # RFC 6761 section 6.3.
            return self.refusal(ip_address("127.0.0.1"), authority.port)
        if authority.host in METADATA_NAMES:
            return self.refusal(ip_address("169.254.169.254"), authority.port)
        return None


# Not as a decorator, which would prevent the compilation of the class.
classImplements(AddressGuard, IAddressGuard)


def _within(address: IPAddress, networks: tuple[IPNetwork, ...]) -> bool:
    return any(address in network or embedded(address) in network for network in networks)


def is_local_address(address: IPAddress) -> bool:
    """Tell whether an address belongs to an interface of this machine: only a local address can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
