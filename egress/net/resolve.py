"""From an origin to the addresses that may be connected to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as TwistedTimeout
from twisted.internet.interfaces import IAddress, IHostResolution, IReactorPluggableNameResolver, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.model.authority import Authority, IPAddress, parse_ip
from egress.model.errors import NameNotResolved, ResolutionTimeout


@implementer(IResolutionReceiver)
class _Collector:
    def __init__(self, done: Deferred[tuple[IPAddress, ...]]) -> None:
        self._done: Deferred[tuple[IPAddress, ...]] | None = done
        self._found: list[IPAddress] = []

    def forget(self, _: object = None) -> None:
        self._done = None

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, (IPv4Address, IPv6Address)):
            ip = parse_ip(address.host.partition("%")[0])
            if ip is not None and ip not in self._found:
                self._found.append(ip)

    def resolutionComplete(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done.callback(interleave(self._found))


def interleave(addresses: Sequence[IPAddress]) -> tuple[IPAddress, ...]:
    """Alternate between the address families, beginning with the resolver's first choice (RFC 8305 section 4)."""
    if not addresses:
        return ()
    first = [address for address in addresses if address.version == addresses[0].version]
    second = [address for address in addresses if address.version != addresses[0].version]
    pairs = zip_longest(first, second)
    return tuple(address for pair in pairs for address in pair if address is not None)


class Resolver:
    """Resolves names with the reactor's resolver, in bounded time.

    @param reactor: provides C{IReactorPluggableNameResolver} and C{IReactorTime}.
    @param timeout: seconds for one name.
    """

    def __init__(self, reactor: IReactorPluggableNameResolver, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout

    def resolve(self, authority: Authority) -> Deferred[tuple[IPAddress, ...]]:
        """Find the addresses of an authority, in the order in which to try them.

        @return: fails with L{NameNotResolved} or L{ResolutionTimeout}.
        """
        literal = authority.ip
        if literal is not None:
            return succeed((literal,))
        # The thread of a look-up cannot be stopped; what it finds too late is ignored.
        done: Deferred[tuple[IPAddress, ...]] = Deferred(lambda _: collector.forget())
        collector = _Collector(done)
        self._reactor.nameResolver.resolveHostName(collector, authority.host, authority.port)
        done.addTimeout(self._timeout, self._reactor)  # type: ignore[arg-type]
        done.addCallbacks(_some, _explain, callbackArgs=(authority,), errbackArgs=(authority,))
        return done


def _some(addresses: tuple[IPAddress, ...], authority: Authority) -> tuple[IPAddress, ...]:
    if not addresses:
        raise NameNotResolved(f"the name {authority.host} has no address")
    return addresses


def _explain(failure: Failure, authority: Authority) -> Failure:
    if isinstance(failure.value, TwistedTimeout):
        raise ResolutionTimeout(f"the name {authority.host} was not resolved in time")
    return failure
