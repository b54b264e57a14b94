"""The collaborators, settings and limits that the client connections of a proxy share, by purpose."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate

import attrs
from twisted.internet.interfaces import IReactorTime

from egress.config.model import Limits, OversizeBody, Resolve
from egress.http.heads import HeadLimits
from egress.http2.windows import PROCESS_GROWTH, GrowthBudget
from egress.interfaces import IAuthorizer, IBudgets, IDialer
from egress.model.authority import PROXY_HOST, Authority
from egress.model.message_counts import MessageCounts
from egress.model.no_proxy import HostPattern
from egress.model.record import ExchangeRecord
from egress.model.recorded_headers import AuditHeaders
from egress.proxy.connection_registry import ConnectionRegistry
from egress.proxy.memory_budget import MemoryBudget
from egress.proxy.request_ids import RequestIds
from egress.proxy.revocations import Revocations
from egress.proxy.tls_intercept import TlsIntercept
from egress.relay.buffered import Flows
from egress.relay.splice import best_flows
from egress.tracing.tracer import Tracer
from egress.transport.fair_turns import RoundRobin
from egress.upstream.interfaces import StreamOpener
from egress.upstream.pool import OriginPool


@attrs.define(eq=False)
class AuthzContext:
    """The collaborators for the authorization and the audit of each request.

    @ivar clock: the reactor.
    @ivar authorizer: the outermost authorizer.
    @ivar report: is called with the record of each exchange.
    @ivar budgets: counts allowed requests against the budgets of their decisions; C{None}: such requests fail.
    @ivar renewal_timeout: timeout in seconds for the renewal of a lease.
    @ivar tracer: begins the trace of each exchange; C{None}: there are no traces.
    @ivar headers: the requests whose header fields the records contain.
    @ivar message_counts: counts messages that are authorized one by one.
    @ivar revocations: the revocations of decisions.
    @ivar wall_clock: seconds since the epoch, for records and C{Date}.
    @ivar new_id: creates the id of a request.
    """

    clock: IReactorTime
    authorizer: IAuthorizer
    report: Callable[[ExchangeRecord], None]
    budgets: IBudgets | None = attrs.field(default=None, kw_only=True)
    renewal_timeout: float = attrs.field(default=5.0, kw_only=True)
    headers: AuditHeaders = attrs.field(default=AuditHeaders.NONE, kw_only=True)
    tracer: Tracer | None = attrs.field(default=None, kw_only=True)
    message_counts: MessageCounts = attrs.field(factory=MessageCounts, kw_only=True)
    revocations: Revocations = attrs.field(factory=Revocations, kw_only=True)
    wall_clock: Callable[[], float] = attrs.field(default=time.time, kw_only=True)
    new_id: Callable[[], str] = attrs.field(factory=lambda: RequestIds().new, kw_only=True)


@attrs.define(eq=False)
class OriginContext:
    """The collaborators with which exchanges and tunnels reach their origins.

    @ivar dialer: finds the routes to origins.
    @ivar pool: the idle connections to origins.
    @ivar streams: opens streams to origins.
    @ivar resolve: when names are resolved.
    """

    dialer: IDialer
    pool: OriginPool
    streams: StreamOpener
    resolve: Resolve = Resolve.AFTER


@attrs.frozen(eq=False)
class TunnelContext:
    """The settings that determine which tunnels are intercepted, and how.

    @ivar interception: builds the TLS layers of intercepted tunnels.
    @ivar passthrough: the hosts whose tunnels are relayed without interception.
    @ivar opaque_ports: the ports whose tunnels may carry protocols other than TLS and HTTP.
    @ivar http2: whether clients can use HTTP/2 without TLS in a tunnel, with prior knowledge.
    """

    interception: TlsIntercept
    passthrough: tuple[HostPattern, ...] = ()
    opaque_ports: tuple[range, ...] = ()
    http2: bool = True

    def is_passthrough(self, authority: Authority) -> bool:
        """Whether connections to an authority are relayed without interception."""
        if authority.host == PROXY_HOST:
            return False
        return self.is_opaque_port(authority) or any(pattern.matches(authority) for pattern in self.passthrough)

    def is_opaque_port(self, authority: Authority) -> bool:
        """Whether connections to the authority's port may carry protocols other than TLS and HTTP."""
        return any(authority.port in ports for ports in self.opaque_ports)


@attrs.define(eq=False, kw_only=True)
class ProxyContext:
    """The collaborators, settings and limits that client connections share; L{egress.service} creates it.

    @ivar clock: the reactor.
    @ivar limits: the limits.
    @ivar turns: the scheduler of work that connections defer to a later turn of the reactor.
    @ivar authz: the collaborators for authorization and audit.
    @ivar origins: the collaborators with which origins are reached.
    @ivar tunnels: the settings for tunnels.
    @ivar upgrade_protocols: in lower case, the protocols besides WebSockets to which connections may be upgraded.
    @ivar oversize_body: the handling of a request whose content exceeds the body limit.
    @ivar sessions: the open client connections.
    @ivar flows: the way in which a relay moves bytes between sockets.
    @ivar head_limits: the limits of heads, derived from C{limits}.
    @ivar contents: the memory for content that is collected for decisions.
    @ivar window_growth: limits the growth of the windows of all HTTP/2 connections with clients.
    """

    clock: IReactorTime
    limits: Limits
    turns: RoundRobin
    authz: AuthzContext
    origins: OriginContext
    tunnels: TunnelContext
    upgrade_protocols: frozenset[str] = frozenset()
    oversize_body: OversizeBody = OversizeBody.REFUSE
    sessions: ConnectionRegistry = attrs.field(factory=ConnectionRegistry)
    flows: Flows = attrs.field(factory=best_flows)
    head_limits: HeadLimits = attrs.field(init=False)
    contents: MemoryBudget = attrs.field(init=False)
    window_growth: GrowthBudget = attrs.field(init=False, factory=lambda: GrowthBudget(PROCESS_GROWTH))

    def __attrs_post_init__(self) -> None:
        self.head_limits = head_limits(self.limits)
        # Content of the maximum length always fits.
        self.contents = MemoryBudget(self.clock, max(self.limits.body, self.limits.body_memory))

    def date(self) -> bytes:
        """The C{Date} value of a response that the proxy generates (RFC 9110 section 6.6.1)."""
        return formatdate(self.authz.wall_clock(), usegmt=True).encode("ascii")


def head_limits(limits: Limits) -> HeadLimits:
    """The limits of request and response heads."""
    return HeadLimits(limits.head, limits.fields, limits.target)
