"""What every session and exchange of one proxy shares."""

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
    """An endless supply of ids that nobody can guess or meet twice; the system is asked for many at once."""

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
    """The collaborators of a proxy; L{egress.service} puts them together.

    @ivar report: takes the record of each exchange.
    @ivar wall_clock: seconds since the epoch, for records and C{Date}.
    @ivar sessions: the client connections that are open.
    @ivar upgrade_protocols: in lower case, the protocols besides WebSockets to which connections may be upgraded.
    @ivar flows: how bytes that are not read go from one socket to another.
    @ivar turned_away: how many connections there was no room for.
    @ivar renewal_timeout: seconds for a decision on what was allowed for a while, and is still there.
    @ivar resolve: when names are looked up.
    @ivar draining: whether the proxy is being stopped: connections are not kept.
    @ivar contents: the memory for contents that are collected for decisions.
    @ivar turns: the work that connections leave for a later turn of the reactor.
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
        # A content of the greatest length fits, whatever else is set.
        self.contents = MemoryBudget(self.clock, max(self.limits.body, self.limits.body_memory))

    head_limits: HeadLimits = attrs.field(init=False)
    turns: RoundRobin = attrs.field(init=False)
    contents: MemoryBudget = attrs.field(init=False)

    def is_passthrough(self, authority: Authority) -> bool:
        """Whether what goes to an authority is tunnelled unread."""
        return self.is_opaque_port(authority) or any(pattern.matches(authority) for pattern in self.passthrough)

    def is_opaque_port(self, authority: Authority) -> bool:
        """Whether what goes to an authority may be neither TLS nor HTTP."""
        return any(authority.port in ports for ports in self.opaque_ports)

    def date(self) -> bytes:
        """The value of C{Date} for an answer of our own (RFC 9110 section 6.6.1)."""
        return formatdate(self.wall_clock(), usegmt=True).encode("ascii")
