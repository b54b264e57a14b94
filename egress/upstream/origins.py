"""Opens streams to origins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from egress.upstream.origin_connection import OriginConnection

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from egress.http.heads import HeadLimits
    from egress.interfaces import IDialer
    from egress.model.phases import Mark
    from egress.model.route import Route
    from egress.transport.fair_turns import RoundRobin


class Origins:
    """Opens the connections of exchanges to their origins.

    @param limits: the limits of response heads.
    @param turns: the queue of work for later turns of the reactor.
    """

    def __init__(self, dialer: IDialer, limits: HeadLimits, clock: IReactorTime, turns: RoundRobin) -> None:
        self._dialer = dialer
        self._limits = limits
        self._clock = clock
        self._turns = turns

    def open(self, route: Route, client: str = "", phases: list[Mark] | None = None) -> Deferred[OriginConnection]:
        """Open a stream along a route.

        @param route: the route.
        @param client: the client's key for per-client limits (L{egress.model.limit_key}); empty for the proxy itself.
        @param phases: receives the phases of the opening.
        @return: fires with the stream, once the connection is established; fails with an
            L{egress.model.errors.OriginError}. Cancelling it drops the connection.
        """
        connection = OriginConnection(route, self._limits, self._clock, self._turns, client)
        return self._dialer.dial(route, connection, phases).addCallback(lambda _: connection)
