"""The connector: opens a connection to an origin (route, TCP, the upstream proxy's tunnel, TLS)."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import classImplements

from egress.config.model import Limits
from egress.interfaces import IAddressGuard, IDialer
from egress.model.authority import Authority, IPAddress, Origin, UpstreamProxy
from egress.model.errors import (
    AddressForbidden,
    PortForbidden,
)
from egress.model.no_proxy import Bypass
from egress.model.phases import DNS, Mark
from egress.model.route import Purpose, Route
from egress.transport.dialed import DialedProtocol
from egress.transport.fair_turns import RoundRobin
from egress.transport.reactor import IEgressReactor
from egress.upstream.dial import CreateTls, Dial
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolver import Resolver
from egress.upstream.upstream_path import UpstreamPath

NO_BYPASS = Bypass()


def _with_tls(origin: Origin, purpose: Purpose) -> bool:
    return origin.scheme == "https" and purpose is not Purpose.TUNNEL


class Dialer:
    """Connects to origins directly or through an upstream proxy.

    @param guard: classifies every address before a connection is opened.
    @param create_tls: returns the verifying TLS client for an authority, which offers the given application protocols.
    @param upstream_http: the proxy for C{http} requests.
    @param upstream_https: the proxy for everything that needs a tunnel.
    @param bypass: the destinations that are contacted directly even if there is an upstream proxy.
    @param resolver: resolves names; C{None} selects the resolver of the reactor.
    """

    def __init__(
        self,
        reactor: IEgressReactor,
        limits: Limits,
        guard: IAddressGuard,
        create_tls: CreateTls,
        *,
        upstream_http: UpstreamProxy | None = None,
        upstream_https: UpstreamProxy | None = None,
        bypass: Bypass = NO_BYPASS,
        resolver: Resolver | None = None,
    ) -> None:
        self._turns = RoundRobin(reactor)
        self._reactor = reactor
        self._limits = limits
        self._guard = guard
        self._create_tls = create_tls
        self._upstream_http = upstream_http
        self._upstream_https = upstream_https
        self._bypass = bypass
        self._resolver = resolver or Resolver(reactor, ReactorLookups(reactor), limits)
        self._path = UpstreamPath(reactor, self._resolver, guard, limits)

    def upstream_for(self, origin: Origin, purpose: Purpose) -> UpstreamProxy | None:
        """Return the proxy through which an origin is reached, if any."""
        if self._bypass.matches(origin.authority):
            return None
        if origin.scheme == "http" and purpose is Purpose.REQUEST:
            return self._upstream_http
        return self._upstream_https or (self._upstream_http if origin.scheme == "http" else None)

    def judge(self, origin: Origin, purpose: Purpose) -> Route | None:
        """Classify an origin without resolving its name; see L{IDialer.judge}."""
        authority = origin.authority
        refusal = self._guard.port_refusal(authority.port)
        if refusal is not None:
            raise PortForbidden(refusal)
        upstream, literal = self.upstream_for(origin, purpose), authority.ip
        looks_up = literal is None and (upstream is None or not upstream.resolves_names)
        if literal is not None:
            refusal = self._guard.refusal(literal, authority.port)
        elif not looks_up or "." in authority.host or authority.host == "localhost":
            # Only a lookup tells where a name without a dot points, such as C{metadata} in a container network.
            refusal = self._guard.name_refusal(authority)
        if refusal is not None:
            raise AddressForbidden(refusal)
        if looks_up:
            return None
        return self._route(origin, purpose, upstream, () if literal is None else (literal,))

    def _route(
        self, origin: Origin, purpose: Purpose, upstream: UpstreamProxy | None, addresses: tuple[IPAddress, ...]
    ) -> Route:
        tls = _with_tls(origin, purpose)
        if upstream is None:
            return Route(origin, addresses, None, tls, False)
        connect = upstream.is_socks or origin.scheme == "https" or purpose is not Purpose.REQUEST
        return Route(origin, () if upstream.resolves_names else addresses, upstream, tls, connect)

    def check(self, origin: Origin, purpose: Purpose, client: str = "") -> Deferred[Route]:
        """Find the route to an origin; see L{IDialer.check}."""
        try:
            route = self.judge(origin, purpose)
        except AddressForbidden as error:
            return fail(error)
        if route is not None:
            return succeed(route)
        looked_up = self._resolver.resolve(origin.authority, client)
        return looked_up.addCallback(self._classify, origin, purpose)

    def addresses(self, authority: Authority) -> Deferred[tuple[IPAddress, ...]]:
        """Resolve the addresses of an authority without classifying them; see L{Resolver.resolve}."""
        return self._resolver.resolve(authority)

    def _classify(self, addresses: tuple[IPAddress, ...], origin: Origin, purpose: Purpose) -> Route:
        for address in addresses:
            refusal = self._guard.refusal(address, origin.authority.port)
            if refusal is not None:
                # If any address is refused, the whole name is refused: its owner could make the proxy pick it later.
                raise AddressForbidden(f"{origin.authority.host} resolves to {address}: {refusal}")
        return self._route(origin, purpose, self.upstream_for(origin, purpose), addresses)

    def dial(
        self, route: Route, protocol: DialedProtocol, phases: list[Mark] | None = None, http2: bool = False
    ) -> Deferred[None]:
        """Open a connection along a route; see L{IDialer.dial}."""
        upstream = route.upstream
        if upstream is None:
            port = route.origin.authority.port
            return self._attempt(
                route.addresses, (), route=route, protocol=protocol, phases=phases, http2=http2, port=port
            )
        port = upstream.hops[0].authority.port
        attempt = partial(self._attempt, route=route, protocol=protocol, phases=phases, http2=http2, port=port)
        if phases is not None:
            phases.append((DNS, self._reactor.seconds()))
        return self._path.dial(route, attempt)

    def _attempt(
        self,
        addresses: tuple[IPAddress, ...],
        targets: tuple[Authority, ...],
        *,
        route: Route,
        protocol: DialedProtocol,
        phases: list[Mark] | None,
        http2: bool,
        port: int,
    ) -> Deferred[None]:
        """Open a connection to one of the addresses."""
        dial = Dial(
            self._reactor,
            route,
            protocol,
            limits=self._limits,
            create_tls=self._create_tls,
            turns=self._turns,
            phases=phases,
            targets=targets,
            http2=http2,
        )
        dial.start(addresses, port)
        return dial.done


# Not as a decorator, which would prevent the compilation of the class.
classImplements(Dialer, IDialer)
