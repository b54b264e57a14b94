"""The route to an origin."""

from __future__ import annotations

import enum
from typing import Final

import attr

from egress.model.authority import IPAddress, Origin, UpstreamProxy


class Purpose(enum.Enum):
    """The purpose of a connection.

    @cvar REQUEST: HTTP requests.
    @cvar UPGRADE: one HTTP request, after which the connection is a WebSocket.
    @cvar TUNNEL: bytes that the proxy does not read; TLS, if any, is the client's own.
    """

    REQUEST = "request"
    UPGRADE = "upgrade"
    TUNNEL = "tunnel"


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class Route:
    """A validated route to an origin.

    @ivar origin: the origin.
    @ivar addresses: the addresses to connect to, validated by the address guard, in order of preference.  Empty with an
        upstream proxy that resolves names: the operator chose it, and its own name is resolved when the proxy connects.
    @ivar upstream: the upstream proxy, or C{None}.
    @ivar tls: whether the proxy establishes a TLS session with the origin.
    @ivar connect: whether the upstream proxy opens a tunnel; otherwise it receives requests in absolute-form.
    @ivar is_looked_up: whether the addresses come from a name lookup by the proxy.
    """

    origin: Final[Origin]
    addresses: Final[tuple[IPAddress, ...]]
    upstream: Final[UpstreamProxy | None]
    tls: Final[bool]
    connect: Final[bool]
    is_looked_up: bool = attr.ib(init=False, eq=False, repr=False)

    def __init__(
        self,
        origin: Origin,
        addresses: tuple[IPAddress, ...],
        upstream: UpstreamProxy | None,
        tls: bool,
        connect: bool,
    ) -> None:
        self.origin = origin
        self.addresses = addresses
        self.upstream = upstream
        self.tls = tls
        self.connect = connect
        self.is_looked_up = (upstream is None or not upstream.resolves_names) and origin.authority.ip is None

    @property
    def absolute_form(self) -> bool:
        """Whether requests contain the whole URL because an upstream proxy reads them (RFC 9112 section 3.2.2)."""
        return self.upstream is not None and not self.connect

    @property
    def known_addresses(self) -> tuple[IPAddress, ...] | None:
        """The known addresses of the origin; C{None} if an upstream proxy resolves its name."""
        if self.upstream is None or not self.upstream.resolves_names:
            return self.addresses
        literal = self.origin.authority.ip
        return None if literal is None else (literal,)

    def is_subset_of(self, addresses: tuple[IPAddress, ...] | None) -> bool:
        """Whether all addresses of the route are among C{addresses}; C{None} permits every address."""
        return addresses is None or self.addresses == addresses or set(self.addresses) <= set(addresses)


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class Destination:
    """The destination of a request, for the audit log.

    @ivar address: the address of the connection, if it is an address of the origin.
    @ivar upstream: host and port of the upstream proxy, in a chain of the last one.
    @ivar http: the version of HTTP of the connection; C{None} if the proxy relays bytes that it does not read.
    """

    address: Final[str | None]
    upstream: Final[str | None]
    http: Final[str | None]

    def __init__(self, address: str | None = None, upstream: str | None = None, http: str | None = None) -> None:
        self.address = address
        self.upstream = upstream
        self.http = http


NO_HOP: Final = Destination()
