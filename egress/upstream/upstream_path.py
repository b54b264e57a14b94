"""The path to an origin through one upstream proxy, or through two of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks

from egress.http.connect_handshake import ConnectHandshake
from egress.model.authority import Authority, IPAddress, UpstreamHop
from egress.model.errors import (
    EgressError,
    ResolutionTimeout,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from egress.socks.client_handshake import SocksHandshake

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from egress.config.model import Limits
    from egress.interfaces import IAddressGuard
    from egress.model.route import Route
    from egress.upstream.resolver import Resolver

Attempt = Callable[[tuple[IPAddress, ...], tuple[Authority, ...]], Deferred[None]]
"""Connects to one of the addresses of the first proxy; each proxy then connects to its target."""


def handshake_with(hop: UpstreamHop, target: Authority, head_limit: int) -> ConnectHandshake | SocksHandshake:
    """The handshake that opens a tunnel through a proxy.

    @param hop: the proxy.
    @param target: the destination of the tunnel.
    @param head_limit: the maximum size of the head of an HTTP response.
    """
    return SocksHandshake(hop, target) if hop.is_socks else ConnectHandshake(hop, target, head_limit)


class UpstreamPath:
    """Finds the addresses of upstream proxies, and of an origin whose name they do not resolve.

    @param resolver: resolves the names.
    @param guard: recognizes the addresses of this proxy.
    @param limits: the number of addresses to try, and their timeout.
    """

    def __init__(self, clock: IReactorTime, resolver: Resolver, guard: IAddressGuard, limits: Limits) -> None:
        self._clock = clock
        self._resolver = resolver
        self._guard = guard
        self._limits = limits

    @inlineCallbacks
    def dial(self, route: Route, attempt: Attempt) -> Generator[Deferred[Any], Any, None]:
        """Connect along a route through upstream proxies.

        An upstream proxy that does not resolve names connects to one address. If it cannot reach it, the next address
        of the origin follows.

        @return: fires when the connection is established; fails with the error of the last attempt.
        """
        assert route.upstream is not None
        hops, origin = route.upstream.hops, route.origin.authority
        addresses = yield self._addresses_of(hops[0])
        between = []
        for hop, following in pairwise(hops):
            target = following.authority
            if not hop.resolves_names and target.ip is None:
                found = yield self._addresses_of(following)
                target = Authority(str(found[0]), target.port)
            elif target.ip is not None:
                self._check_loop(following, (target.ip,))
            between.append(target)
        targets = [origin]
        if not hops[-1].resolves_names and origin.ip is None:
            # The calls of the proxy itself have a route without addresses.
            known = route.addresses or (yield self._resolver.resolve(origin))
            targets = [Authority(str(address), origin.port) for address in known[: self._limits.connect_addresses]]
        end = self._clock.seconds() + self._limits.connect_timeout
        for target in targets:
            try:
                yield attempt(addresses, (*between, target))
            except UpstreamRefused as error:
                if not error.other_address or target is targets[-1] or self._clock.seconds() >= end:
                    raise
            else:
                return

    @inlineCallbacks
    def _addresses_of(self, hop: UpstreamHop) -> Generator[Deferred[Any], Any, tuple[IPAddress, ...]]:
        try:
            addresses: tuple[IPAddress, ...] = yield self._resolver.resolve(hop.authority)
        except ResolutionTimeout as error:
            raise UpstreamTimeout(f"the upstream proxy: {error.reason}") from error
        except EgressError as error:
            raise UpstreamUnreachable(f"the upstream proxy: {error.reason}") from error
        self._check_loop(hop, addresses)
        return addresses

    def _check_loop(self, hop: UpstreamHop, addresses: tuple[IPAddress, ...]) -> None:
        if any(self._guard.is_the_proxy(address, hop.authority.port) for address in addresses):
            # Each request would return to the proxy without end.
            raise UpstreamUnreachable(
                f"the upstream proxy {hop.authority} is this proxy itself: set another one, or none, with "
                "--upstream-proxy"
            )
