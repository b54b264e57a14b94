"""How an origin is reached."""

from __future__ import annotations

import enum
from typing import Final

import attrs

from egress.model.authority import IPAddress, Origin, UpstreamProxy


class Purpose(enum.Enum):
    """What a connection is for.

    @cvar REQUEST: HTTP requests.
    @cvar UPGRADE: one HTTP request, after which the connection is a WebSocket.
    @cvar TUNNEL: bytes that the proxy does not read; TLS, if any, is the client's own.
    """

    REQUEST = "request"
    UPGRADE = "upgrade"
    TUNNEL = "tunnel"


@attrs.frozen
class Route:
    """A checked way to an origin.

    @ivar addresses: what may be connected to, classified by the address guard, in the order to try; of the upstream
        proxy's none: it is the operator's choice and resolved when it is dialled.
    @ivar upstream: the proxy to go through, or C{None}.
    @ivar tls: whether the proxy makes a TLS session with the origin.
    @ivar connect: whether the upstream proxy is asked for a tunnel; otherwise it gets requests in absolute-form.
    @ivar is_looked_up: whether the proxy has looked up a name to find the addresses.
    """

    origin: Origin
    addresses: tuple[IPAddress, ...]
    upstream: UpstreamProxy | None
    tls: bool
    connect: bool
    is_looked_up: bool = attrs.field(init=False, eq=False, repr=False)

    @is_looked_up.default
    def _has_name(self) -> bool:
        return self.upstream is None and self.origin.authority.ip is None

    @property
    def absolute_form(self) -> bool:
        """Whether requests name the whole URL, since an upstream proxy reads them (RFC 9112 section 3.2.2)."""
        return self.upstream is not None and not self.connect

    @property
    def known_addresses(self) -> tuple[IPAddress, ...] | None:
        """What is known of where it leads; an upstream proxy resolves names itself."""
        if self.upstream is None:
            return self.addresses
        literal = self.origin.authority.ip
        return None if literal is None else (literal,)

    def is_subset_of(self, addresses: tuple[IPAddress, ...] | None) -> bool:
        """Whether it leads to no address but these; C{None} stands for any."""
        return addresses is None or self.addresses == addresses or set(self.addresses) <= set(addresses)


@attrs.frozen
class Destination:
    """Where a request went, for the audit log.

    @ivar address: the address that was connected to, where it is the origin's.
    @ivar upstream: host and port of the upstream proxy, which resolves the origin's name itself.
    """

    address: str | None = None
    upstream: str | None = None


NO_HOP: Final = Destination()
