"""Opens streams to origins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from egress.http2.windows import PROCESS_GROWTH, GrowthBudget
from egress.model.errors import OriginHttp2Only
from egress.model.protocol import ALPN_HTTP_2
from egress.upstream.http2_origin_connection import Http2OriginConnection
from egress.upstream.origin_connection import OriginConnection
from egress.upstream.origin_versions import OriginVersions
from egress.upstream.shared_dials import SharedDials

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from egress.http.heads import HeadLimits
    from egress.interfaces import IDialer
    from egress.model.phases import Mark
    from egress.model.route import Route
    from egress.transport.fair_turns import RoundRobin
    from egress.upstream.origin_connection import PoolKey
    from egress.upstream.pool import OriginPool, Stream
    from egress.upstream.shared_dials import Dialed


class Origins:
    """Opens the streams of exchanges to their origins: connections over HTTP/1.1, or streams of one over HTTP/2.

    @param limits: the limits of response heads.
    @param turns: the queue of work for later turns of the reactor.
    @param pool: stores the connections over HTTP/2, which serve further requests.
    @param patience: the seconds for which a request waits if the origin permits no further concurrent request.
    """

    def __init__(
        self,
        dialer: IDialer,
        limits: HeadLimits,
        clock: IReactorTime,
        turns: RoundRobin,
        *,
        pool: OriginPool,
        patience: float,
    ) -> None:
        self._dialer = dialer
        self._limits = limits
        self._clock = clock
        self._turns = turns
        self._pool = pool
        self._versions = OriginVersions(clock)
        self._growth = GrowthBudget(PROCESS_GROWTH)
        self._shared = SharedDials(self._dial, pool, clock, patience)

    def open(
        self,
        route: Route,
        client: str = "",
        phases: list[Mark] | None = None,
        *,
        key: PoolKey | None = None,
        http2: bool = False,
        prior_knowledge: bool = False,
    ) -> Deferred[Stream]:
        """Open a stream along a route.

        @param route: the route.
        @param client: the client's key for per-client limits (L{egress.model.limit_key}); empty for the proxy itself.
        @param phases: receives the phases of the opening.
        @param key: identifies the connections that may carry the request; C{None} for a new connection that carries no
            other request.
        @param http2: whether the request can be sent over HTTP/2.
        @param prior_knowledge: whether an origin without TLS is expected to use HTTP/2 (RFC 9113 section 3.3).
        @return: fires with the stream, once the connection is established; fails with an
            L{egress.model.errors.OriginError}. Cancelling it drops the connection, unless others wait for it.
        """
        if not (http2 and (route.tls or (prior_knowledge and not route.absolute_form))):
            connection = OriginConnection(route, self._limits, self._clock, self._turns, client)
            return self._dialer.dial(route, connection, phases).addCallback(lambda _: connection)
        if key is not None and self._versions.choice(route.origin) is not False:
            return self._shared.open(key, route, client, phases)
        return self._dial(route, client, phases).addCallback(self._first_stream, key)

    def _dial(self, route: Route, client: str, phases: list[Mark] | None) -> Deferred[Dialed]:
        connection = OriginConnection(route, self._limits, self._clock, self._turns, client)
        failed = self._versions.failed(route.origin)
        dialing: Deferred[Dialed] = self._dialer.dial(route, connection, phases, http2=not failed).addCallback(
            self._connected, connection, client
        )
        return dialing.addErrback(self._failed, route) if failed else dialing

    def _connected(self, _: None, connection: OriginConnection, client: str) -> Dialed:
        """Find out which version the origin chose."""
        origin, layer = connection.route.origin, cast("Any", connection.transport)
        if connection.route.tls:
            http2 = getattr(layer, "negotiatedProtocol", None) == ALPN_HTTP_2
        else:
            http2 = not self._versions.failed(origin)
        self._versions.learn(origin, http2=http2)
        if not http2:
            return connection
        multiplexed = Http2OriginConnection(
            connection,
            self._limits,
            self._clock,
            self._turns,
            client=client,
            versions=self._versions,
            growth=self._growth,
        )
        layer.unregisterProducer()
        setattr(layer, "wrappedProtocol" if connection.route.tls else "protocol", multiplexed)
        multiplexed.makeConnection(layer)  # type: ignore[no-untyped-call]
        return multiplexed

    def _failed(self, failure: Failure, route: Route) -> Failure:
        if isinstance(failure.value, OriginHttp2Only):
            self._versions.forget(route.origin)
        return failure

    def _first_stream(self, connection: Dialed, key: PoolKey | None) -> Stream:
        if not isinstance(connection, Http2OriginConnection):
            return connection
        stream = connection.open_stream()
        if key is not None:
            self._pool.adopt(key, connection)
        return stream
