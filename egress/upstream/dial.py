"""The opening of one connection along a route: TCP, the tunnels of upstream proxies, and TLS, as layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final
from typing import Protocol as Structure

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, NoRouteError, UserError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from egress.config.model import Limits
from egress.model.authority import Authority, IPAddress, UpstreamHop
from egress.model.errors import (
    EgressError,
    OriginConnectTimeout,
    OriginDisconnected,
    OriginError,
    OriginUnreachable,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from egress.model.phases import CONNECT, TLS, UPSTREAM_CONNECT, UPSTREAM_TLS, Mark
from egress.model.protocol import ALPN_HTTP_1, ALPN_HTTP_2
from egress.model.route import Route
from egress.transport.dialed import DialedProtocol
from egress.transport.fair_turns import RoundRobin
from egress.transport.reactor import IEgressReactor
from egress.transport.tls_layer import TlsLayer
from egress.upstream.happy_eyeballs import Attempts
from egress.upstream.upstream_path import handshake_with
from egress.upstream.upstream_tunnel import UpstreamTunnel


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


class Dial:
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
        self._connecting: Attempts | None = None
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
        # The timer of this object ends all attempts.
        self._connecting = attempts = Attempts(
            self._reactor,
            tried,
            port,
            bottom,
            connected=self._tcp_up,
            failed=self._tcp_failed,
            timeout=limits.connect_timeout,
            attempt_timeout=None,
            max_concurrent=limits.connect_attempts,
        )
        attempts.begin_next()

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

    def _tcp_up(self) -> None:
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
            connecting.stop()
        elif self._bottom is not None and self._bottom.transport is not None:
            self._bottom.transport.abortConnection()


def _as_creator(creator: TlsClientCreator) -> IOpenSSLClientConnectionCreator:
    return creator  # type: ignore[return-value]
