"""The connector: opens a connection to an origin (route, TCP, the upstream proxy's tunnel, TLS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Structure

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, NoRouteError, UserError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.config.model import Limits
from egress.http.connect_handshake import ConnectHandshake
from egress.interfaces import IAddressGuard, IDialer
from egress.model.authority import Authority, IPAddress, Origin, UpstreamProxy
from egress.model.errors import (
    AddressForbidden,
    EgressError,
    OriginConnectTimeout,
    OriginDisconnected,
    OriginError,
    OriginUnreachable,
    PortForbidden,
    ResolutionTimeout,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from egress.model.no_proxy import Bypass
from egress.model.phases import CONNECT, DNS, TLS, UPSTREAM_CONNECT, UPSTREAM_TLS, Mark
from egress.model.route import Purpose, Route
from egress.transport.dialed import DialedProtocol
from egress.transport.fair_turns import RoundRobin
from egress.transport.reactor import IEgressReactor
from egress.transport.tls import TlsFactory
from egress.upstream.happy_eyeballs import connect_first
from egress.upstream.lookups import ReactorLookups
from egress.upstream.resolver import Resolver
from egress.upstream.upstream_tunnel import UpstreamTunnel

NO_BYPASS = Bypass()


class TlsClientCreator(Structure):
    """A verifying TLS client for one authority, which can also explain a failed handshake."""

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> object:
        """See C{IOpenSSLClientConnectionCreator}."""

    def explain(self, failure: Failure) -> OriginError:
        """Convert the failure of a handshake to an error."""


CreateTls = Callable[[Authority], TlsClientCreator]


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
    ) -> None:
        self._reactor = reactor
        self._phases = phases
        self._turns = turns
        self._route = route
        self._protocol = protocol
        self._limits = limits
        self._create_tls = create_tls
        self._connecting: Deferred[None] | None = None
        self._bottom: Protocol | None = None
        self._over = False
        self.done: Deferred[None] = Deferred(lambda _: self._drop())
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

    def _layers(self) -> Protocol:
        route = self._route
        upstream = route.upstream
        layer: Protocol = self._protocol
        over_tls = False
        if route.tls:
            layer = self._with_tls(self._protocol, self._protocol, route.origin.authority, self._ready)
            over_tls = True
        if upstream is not None:
            if route.connect:
                handshake = ConnectHandshake(upstream, route.origin.authority, self._limits.head)
                tunnel = UpstreamTunnel(handshake, layer, self._tunnel_open, self.fail)
                if not over_tls:
                    self._protocol.prepare(False, self._ready, self._lost)

                def send_connect() -> None:
                    self._begin(UPSTREAM_CONNECT)
                    tunnel.send_connect()

                layer = self._to_upstream(upstream, tunnel, send_connect)
            else:
                layer = self._to_upstream(upstream, self._protocol, self._ready)
        elif not over_tls:
            self._protocol.prepare(False, self._ready, self._lost)
        return layer

    def _to_upstream(self, upstream: UpstreamProxy, inner: DialedProtocol, ready: Callable[[], None]) -> Protocol:
        if upstream.scheme == "https":
            return self._with_tls(inner, inner, upstream.authority, ready, upstream=True)
        inner.prepare(False, ready, self._lost)
        return inner

    def _with_tls(
        self,
        inner: Protocol,
        listener: DialedProtocol,
        authority: Authority,
        ready: Callable[[], None],
        upstream: bool = False,
    ) -> Protocol:
        creator = self._create_tls(authority)

        def lost(reason: Failure) -> None:
            error = creator.explain(reason)
            if upstream:
                self.fail(UpstreamUnreachable(f"the TLS session with the upstream proxy failed: {error.reason}"))
            else:
                self.fail(error)

        listener.prepare(True, ready, lost)
        made = Factory.forProtocol(lambda: inner)
        factory = TlsFactory(_as_creator(creator), True, made, self._reactor, self._turns)
        return factory.buildProtocol(None)

    def _tcp_up(self, _: None) -> None:
        self._connecting = None
        upstream = self._route.upstream
        if upstream is not None and upstream.scheme == "https":
            self._begin(UPSTREAM_TLS)
        elif upstream is None and self._route.tls:
            self._begin(TLS)
        if self._timer.active():
            self._timer.reset(self._limits.tls_timeout)

    def _tunnel_open(self) -> None:
        if self._route.tls:
            self._begin(TLS)

    def _tcp_failed(self, failure: Failure) -> None:
        self._connecting = None
        if self._over:
            return
        error = failure.value
        where = str(self._route.upstream or self._route.origin.authority)
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
        upstream = self._route.upstream
        if upstream is not None:
            self.fail(UpstreamTimeout(f"the upstream proxy {upstream.authority} did not respond in time"))
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

    def _drop(self) -> None:
        self._over = True
        if self._timer.active():
            self._timer.cancel()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
        elif self._bottom is not None and self._bottom.transport is not None:
            self._bottom.transport.abortConnection()  # type: ignore[attr-defined]


def _as_creator(creator: TlsClientCreator) -> IOpenSSLClientConnectionCreator:
    return creator  # type: ignore[return-value]


def _with_tls(origin: Origin, purpose: Purpose) -> bool:
    return origin.scheme == "https" and purpose is not Purpose.TUNNEL


@implementer(IDialer)
class Dialer:
    """Connects to origins directly or through an upstream proxy.

    @param guard: classifies every address before a connection is opened.
    @param create_tls: returns the verifying TLS client for an authority.
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
        if literal is not None:
            refusal = self._guard.refusal(literal, authority.port)
        elif upstream is not None or "." in authority.host or authority.host == "localhost":
            # Only a lookup tells where a name without a dot points, such as C{metadata} in a container network.
            refusal = self._guard.name_refusal(authority)
        if refusal is not None:
            raise AddressForbidden(refusal)
        tls = _with_tls(origin, purpose)
        if upstream is not None:
            connect = origin.scheme == "https" or purpose is not Purpose.REQUEST
            return Route(origin, (), upstream, tls, connect)
        return None if literal is None else Route(origin, (literal,), None, tls, False)

    def check(self, origin: Origin, purpose: Purpose, client: str = "") -> Deferred[Route]:
        """Find the route to an origin; see L{IDialer.check}."""
        try:
            route = self.judge(origin, purpose)
        except AddressForbidden as error:
            return fail(error)
        if route is not None:
            return succeed(route)
        looked_up = self._resolver.resolve(origin.authority, client)
        return looked_up.addCallback(self._classify, origin, _with_tls(origin, purpose))

    def addresses(self, authority: Authority) -> Deferred[tuple[IPAddress, ...]]:
        """Resolve the addresses of an authority without classifying them; see L{Resolver.resolve}."""
        return self._resolver.resolve(authority)

    def _classify(self, addresses: tuple[IPAddress, ...], origin: Origin, tls: bool) -> Route:
        for address in addresses:
            refusal = self._guard.refusal(address, origin.authority.port)
            if refusal is not None:
                # If any address is refused, the whole name is refused: its owner could make the proxy pick it later.
                raise AddressForbidden(f"{origin.authority.host} resolves to {address}: {refusal}")
        return Route(origin, addresses, None, tls, False)

    def dial(self, route: Route, protocol: DialedProtocol, phases: list[Mark] | None = None) -> Deferred[None]:
        """Open a connection along a route; see L{IDialer.dial}."""
        if route.upstream is None:
            dial = self._new_dial(route, protocol, phases)
            dial.start(route.addresses, route.origin.authority.port)
            return dial.done
        return self._dial_upstream(route, protocol, route.upstream, phases)

    def _new_dial(self, route: Route, protocol: DialedProtocol, phases: list[Mark] | None) -> _Dial:
        return _Dial(
            self._reactor,
            route,
            protocol,
            limits=self._limits,
            create_tls=self._create_tls,
            turns=self._turns,
            phases=phases,
        )

    def _dial_upstream(
        self, route: Route, protocol: DialedProtocol, upstream: UpstreamProxy, phases: list[Mark] | None
    ) -> Deferred[None]:
        def failed(failure: Failure) -> Failure:
            error = failure.value
            if isinstance(error, ResolutionTimeout):
                raise UpstreamTimeout(f"the upstream proxy: {error.reason}")
            if isinstance(error, EgressError):
                raise UpstreamUnreachable(f"the upstream proxy: {error.reason}")
            return failure

        def resolved(addresses: tuple[IPAddress, ...]) -> Deferred[None]:
            port = upstream.authority.port
            if any(self._guard.is_the_proxy(address, port) for address in addresses):
                # Each request would return to the proxy without end.
                raise UpstreamUnreachable(
                    f"the upstream proxy {upstream.authority} is this proxy itself: set another one, or none, with "
                    "--upstream-proxy"
                )
            dial = self._new_dial(route, protocol, phases)
            dial.start(addresses, port)
            return dial.done

        if phases is not None:
            phases.append((DNS, self._reactor.seconds()))
        looked_up = self._resolver.resolve(upstream.authority).addErrback(failed)
        return looked_up.addCallback(resolved)
