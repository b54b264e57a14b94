"""The collaborators and settings that all sessions and exchanges of a proxy share."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from os import urandom

import attrs
from twisted.internet.interfaces import IReactorTime

from egress.config.model import Limits, OversizeBody, Resolve
from egress.http.heads import HeadLimits
from egress.interfaces import IAuthorizer, IDialer, ILeafSource
from egress.model.authority import Authority
from egress.model.no_proxy import HostPattern
from egress.model.record import ExchangeRecord
from egress.proxy.connection_registry import ConnectionRegistry
from egress.proxy.memory_budget import MemoryBudget
from egress.relay.buffered import Flows
from egress.relay.splice import best_flows
from egress.transport.fair_turns import RoundRobin
from egress.upstream.pool import OriginPool

_ID_BYTES = 12
_IDS_AT_ONCE = 256


class Ids:
    """An endless iterator of unguessable, unique ids. It reads random data in large blocks."""

    def __init__(self) -> None:
        self._random = ""
        self._used = 0

    def __iter__(self) -> Ids:
        return self

    def __next__(self) -> str:
        used = self._used
        if used == len(self._random):
            self._random = urandom(_ID_BYTES * _IDS_AT_ONCE).hex()
            used = 0
        self._used = end = used + 2 * _ID_BYTES
        return self._random[used:end]


@attrs.define(eq=False)
class ProxyContext:
    """The collaborators of a proxy; L{egress.service} creates it.

    @ivar report: is called with the record of each exchange.
    @ivar wall_clock: seconds since the epoch, for records and C{Date}.
    @ivar sessions: the open client connections.
    @ivar upgrade_protocols: in lower case, the protocols besides WebSockets to which connections may be upgraded.
    @ivar flows: the way in which a relay moves bytes between sockets.
    @ivar rejected: the number of connections rejected by the connection limits.
    @ivar renewal_timeout: timeout in seconds for the renewal of a lease.
    @ivar resolve: when names are resolved.
    @ivar draining: whether the proxy is shutting down: connections are not kept alive.
    @ivar contents: the memory for content that is collected for decisions.
    @ivar turns: the scheduler of work that connections defer to a later turn of the reactor.
    """

    clock: IReactorTime
    limits: Limits
    authorizer: IAuthorizer
    dialer: IDialer
    pool: OriginPool
    host_contexts: ILeafSource
    report: Callable[[ExchangeRecord], None]
    passthrough: tuple[HostPattern, ...] = ()
    opaque_ports: tuple[range, ...] = ()
    upgrade_protocols: frozenset[str] = frozenset()
    oversize_body: OversizeBody = OversizeBody.REFUSE
    wall_clock: Callable[[], float] = time.time
    new_id: Callable[[], str] = attrs.field(factory=lambda: Ids().__next__)
    sessions: ConnectionRegistry = attrs.field(factory=ConnectionRegistry)
    flows: Flows = attrs.field(factory=best_flows)
    renewal_timeout: float = 5.0
    resolve: Resolve = Resolve.AFTER
    rejected: int = 0
    draining: bool = False

    def __attrs_post_init__(self) -> None:
        self.head_limits = HeadLimits(self.limits.head, self.limits.fields, self.limits.target)
        self.turns = RoundRobin(self.clock)
        # Content of the maximum length always fits.
        self.contents = MemoryBudget(self.clock, max(self.limits.body, self.limits.body_memory))

    head_limits: HeadLimits = attrs.field(init=False)
    turns: RoundRobin = attrs.field(init=False)
    contents: MemoryBudget = attrs.field(init=False)

    def is_passthrough(self, authority: Authority) -> bool:
        """Whether connections to an authority are relayed without interception."""
        return self.is_opaque_port(authority) or any(pattern.matches(authority) for pattern in self.passthrough)

    def is_opaque_port(self, authority: Authority) -> bool:
        """Whether connections to the authority's port may carry protocols other than TLS and HTTP."""
        return any(authority.port in ports for ports in self.opaque_ports)

    def date(self) -> bytes:
        """The C{Date} value of a response that the proxy generates (RFC 9110 section 6.6.1)."""
        return formatdate(self.wall_clock(), usegmt=True).encode("ascii")
