"""From an origin to the addresses that may be connected to."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import zip_longest

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as TwistedTimeout
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.interfaces import IEgressReactor
from egress.model.authority import Authority, IPAddress, parse_ip
from egress.model.errors import NameNotResolved, ResolutionTimeout

# How long an answer is used again, in seconds.  The system's resolver does not tell its TTL; a name that moves is
# followed within this time, and a hundred requests a second to a host do not cost a hundred look-ups.
KEEP_SECONDS = 5.0
KEEP_NAMES = 1024


@implementer(IResolutionReceiver)
class _LookUp:
    """One look-up, for all who wait for the name."""

    def __init__(self, resolver: Resolver, host: str) -> None:
        self.waiting: list[Deferred[tuple[IPAddress, ...]]] = []
        self._resolver = resolver
        self._host = host
        self._found: list[IPAddress] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, (IPv4Address, IPv6Address)):
            ip = parse_ip(address.host.partition("%")[0])
            if ip is not None and ip not in self._found:
                self._found.append(ip)

    def resolutionComplete(self) -> None:
        self._resolver.found(self, self._host, interleave(self._found))


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

    Those who ask for a name that is being looked up wait for the same answer, and an answer is kept for
    L{KEEP_SECONDS}.  A name that has no address is looked up each time.

    @param reactor: provides C{IReactorPluggableNameResolver} and C{IReactorTime}.
    @param timeout: seconds for one name.
    """

    def __init__(self, reactor: IEgressReactor, timeout: float) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._under_way: dict[str, _LookUp] = {}
        self._kept: OrderedDict[str, tuple[float, tuple[IPAddress, ...]]] = OrderedDict()

    def resolve(self, authority: Authority, client: str = "") -> Deferred[tuple[IPAddress, ...]]:
        """Find the addresses of an authority, in the order in which to try them.

        @param client: for whom, as per-client limits count clients; empty for the proxy itself.
        @return: fails with L{NameNotResolved} or L{ResolutionTimeout}.
        """
        literal = authority.ip
        if literal is not None:
            return succeed((literal,))
        host = authority.host
        kept = self._kept.get(host)
        if kept is not None and self._reactor.seconds() < kept[0]:
            return succeed(kept[1])
        done: Deferred[tuple[IPAddress, ...]] = Deferred(lambda done: self._give_up(host, done))
        look_up = self._under_way.get(host)
        if look_up is not None:
            look_up.waiting.append(done)
        else:
            look_up = self._under_way[host] = _LookUp(self, host)
            look_up.waiting.append(done)
            self._reactor.nameResolver.resolveHostName(look_up, host, authority.port)
        done.addTimeout(self._timeout, self._reactor)
        done.addCallbacks(_some, _explain, callbackArgs=(authority,), errbackArgs=(authority,))
        return done

    def _give_up(self, host: str, done: Deferred[tuple[IPAddress, ...]]) -> None:
        look_up = self._under_way.get(host)
        if look_up is not None and done in look_up.waiting:
            look_up.waiting.remove(done)
            if not look_up.waiting:
                # Its thread cannot be stopped; what it finds too late is kept all the same.  Who asks next has it tried
                # once more.
                del self._under_way[host]

    def found(self, look_up: _LookUp, host: str, addresses: tuple[IPAddress, ...]) -> None:
        """Take the result of a look-up."""
        if addresses:
            self._kept[host] = (self._reactor.seconds() + KEEP_SECONDS, addresses)
            self._kept.move_to_end(host)
            if len(self._kept) > KEEP_NAMES:
                self._kept.popitem(last=False)
        if self._under_way.get(host) is look_up:
            del self._under_way[host]
        waiting, look_up.waiting = look_up.waiting, []
        for done in waiting:
            done.callback(addresses)


def _some(addresses: tuple[IPAddress, ...], authority: Authority) -> tuple[IPAddress, ...]:
    if not addresses:
        raise NameNotResolved(f"the name {authority.host} has no address")
    return addresses


def _explain(failure: Failure, authority: Authority) -> Failure:
    if isinstance(failure.value, TwistedTimeout):
        raise ResolutionTimeout(f"the name {authority.host} was not resolved in time")
    return failure
