"""The connector: opens a connection to an origin (route, TCP, the upstream proxy's tunnel, TLS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final
from typing import Protocol as Structure

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, NoRouteError, UserError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from egress.config.model import Limits
from egress.interfaces import IAddressGuard, IDialer
from egress.model.authority import Authority, IPAddress, Origin, UpstreamHop, UpstreamProxy
from egress.model.errors import (
    AddressForbidden,
    EgressError,
    OriginConnectTimeout,
    OriginDisconnected,
    OriginError,
    OriginUnreachable,
    PortForbidden,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from egress.model.no_proxy import Bypass
from egress.model.phases import CONNECT, DNS, TLS, UPSTREAM_CONNECT, UPSTREAM_TLS, Mark
from egress.model.protocol import ALPN_HTTP_1, ALPN_HTTP_2
from egress.model.route import Purpose, Route
from egress.transport.dialed import DialedProtocol
from egress.transport.fair_turns import RoundRobin
from egress.transport.reactor import IEgressReactor
from egress.transport.tls_layer import TlsLayer
from egress.upstream.happy_eyeballs import connect_first
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolver import Resolver
from egress.upstream.upstream_path import UpstreamPath, handshake_with
from egress.upstream.upstream_tunnel import UpstreamTunnel

NO_BYPASS = Bypass()


class TlsClientCreator(Structure):
    """A verifying TLS client for one authority, which can also explain a failed handshake."""

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> object:
        """See C{IOpenSSLClientConnectionCreator}."""

    def explain(self, failure: Failure) -> OriginError:
        """Convert the failure of a handshake to an error."""


CreateTls = Callable[[Authority, Sequence[bytes]], TlsClientCreator]

# The application protocols that are offered to a server, the preferred one first.
_ONLY_HTTP_1: Final = (ALPN_HTTP_1,)
_HTTP_2_OR_1: Final = (ALPN_HTTP_2, ALPN_HTTP_1)


class _Dial:
    """An attempt to open one connection.  The first error decides; a later success is dropped."""

    def __init__(
        self,
        reactor: IEgressReactor,
        route: Route,
        protocol: DialedProtocol,
        *,
        limits: Limits,
        create_tls: CreateTls,
        turns: RoundRobin,
        phases: list[Mark] | None,
        targets: tuple[Authority, ...],
        http2: bool,
    ) -> None:
        self._alpn = _HTTP_2_OR_1 if http2 else _ONLY_HTTP_1
        self._reactor = reactor
        self._phases = phases
        self._turns = turns
        self._route = route
        self._protocol = protocol
        self._limits = limits
        self._create_tls = create_tls
        self._connecting: Deferred[None] | None = None
        self._bottom: Any = None
        self._over = False
        self._hops = () if route.upstream is None else route.upstream.hops
        self._targets = targets
        # The upstream proxy that is expected to respond next.
        self._hop = self._hops[0] if self._hops else None
        self.done: Deferred[None] = Deferred(self._cancelled)
        self._timer = reactor.callLater(limits.connect_timeout, self._expired)

    def start(self, addresses: tuple[IPAddress, ...], port: int) -> None:
        """Connect to one of the addresses and set up the layers of the route."""
        self._begin(CONNECT)
        bottom = self._bottom = self._layers()
        limits = self._limits
        tried = addresses[: limits.connect_addresses]
        self._connecting = connect_first(
            self._reactor,
            tried,
            port,
            bottom,
            timeout=limits.connect_timeout,
            max_concurrent=limits.connect_attempts,
        )
        self._connecting.addCallbacks(self._tcp_up, self._tcp_failed)

    def _begin(self, phase: str) -> None:
        if self._phases is not None:
            self._phases.append((phase, self._reactor.seconds()))

    def _layers(self) -> Any:
        route = self._route
        layer: Any = self._protocol
        if route.tls:
            layer = self._with_tls(self._protocol, self._protocol, route.origin.authority, self._ready)
        elif route.connect or route.upstream is None:
            self._protocol.prepare(False, self._ready, self._lost)
        following: UpstreamHop | None = None
        for hop, target in zip(reversed(self._hops), reversed(self._targets), strict=True):
            if following is None and not route.connect:
                layer = self._to_upstream(hop, self._protocol, self._ready)
            else:
                handshake = handshake_with(hop, target, self._limits.head)
                tunnel = UpstreamTunnel(handshake, layer, partial(self._tunnel_open, following), self.fail)
                layer = self._to_upstream(hop, tunnel, partial(self._send_connect, tunnel))
            following = hop
        return layer

    def _send_connect(self, tunnel: UpstreamTunnel) -> None:
        self._begin(UPSTREAM_CONNECT)
        tunnel.send_connect()

    def _to_upstream(self, upstream: UpstreamHop, inner: DialedProtocol, ready: Callable[[], None]) -> Any:
        if upstream.scheme == "https":
            return self._with_tls(inner, inner, upstream.authority, ready, upstream=True)
        inner.prepare(False, ready, self._lost)
        return inner

    def _with_tls(
        self,
        inner: Any,
        listener: DialedProtocol,
        authority: Authority,
        ready: Callable[[], None],
        upstream: bool = False,
    ) -> Any:
        creator = self._create_tls(authority, _ONLY_HTTP_1 if upstream else self._alpn)

        listener.prepare(True, ready, partial(self._tls_failed, creator, authority, upstream))
        return TlsLayer(_as_creator(creator), True, inner, self._turns)

    def _tls_failed(self, creator: TlsClientCreator, authority: Authority, upstream: bool, reason: Failure) -> None:
        error = creator.explain(reason)
        if upstream:
            text = f"the TLS session with the upstream proxy {authority} failed: {error.reason}"
            self.fail(UpstreamUnreachable(text))
        else:
            self.fail(error)

    def _tcp_up(self, _: None) -> None:
        self._connecting = None
        self._contacted(self._hop)
        if self._timer.active():
            self._timer.reset(self._limits.tls_timeout)

    def _tunnel_open(self, following: UpstreamHop | None) -> None:
        self._hop = following or self._hop
        self._contacted(following)

    def _contacted(self, hop: UpstreamHop | None) -> None:
        """Handle a connection to an upstream proxy, or to the origin, on which TLS may follow."""
        if hop is None and self._route.tls:
            self._begin(TLS)
        elif hop is not None and hop.scheme == "https":
            self._begin(UPSTREAM_TLS)

    def _tcp_failed(self, failure: Failure) -> None:
        self._connecting = None
        if self._over:
            return
        error = failure.value
        where = str(self._hop or self._route.origin.authority)
        if isinstance(error, (ConnectTimeout, UserError)):
            self._timed_out(connecting=True)
        elif isinstance(error, ConnectRefused):
            self._unreachable(f"{where} refused the connection")
        elif isinstance(error, NoRouteError):
            self._unreachable(f"{where} cannot be reached: no route")
        else:
            text = error if isinstance(error, ConnectError) else type(error).__name__
            self._unreachable(f"{where} cannot be reached: {text}")

    def _unreachable(self, text: str) -> None:
        self.fail(
            UpstreamUnreachable(f"the upstream proxy {text}") if self._route.upstream else OriginUnreachable(text)
        )

    def _expired(self) -> None:
        self._timed_out(connecting=self._connecting is not None)

    def _timed_out(self, *, connecting: bool) -> None:
        if self._hop is not None:
            self.fail(UpstreamTimeout(f"the upstream proxy {self._hop.authority} did not respond in time"))
        elif connecting:
            self.fail(OriginConnectTimeout(f"{self._route.origin.authority} did not accept a connection in time"))
        else:
            self.fail(
                OriginConnectTimeout(f"the TLS handshake with {self._route.origin.authority} was not complete in time")
            )

    def _ready(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        if not self._over:
            self._over = True
            self.done.callback(None)

    def _lost(self, reason: Failure) -> None:
        self.fail(OriginDisconnected(f"{self._route.origin.authority} closed the connection immediately"))

    def fail(self, error: EgressError) -> None:
        """Fail with an error, and drop the connection that exists so far."""
        if self._over:
            return
        self._drop()
        self.done.errback(error)

    def _cancelled(self, done: Deferred[None]) -> None:
        self._drop()

    def _drop(self) -> None:
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        elif self._bottom is not None and self._bottom.transport is not None:
            self._bottom.transport.abortConnection()


def _as_creator(creator: TlsClientCreator) -> IOpenSSLClientConnectionCreator:
    return creator  # type: ignore[return-value]


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
        dial = _Dial(
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
