"""From an origin to the addresses that may be connected to."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from itertools import zip_longest

from twisted.internet._resolver import GAIResolver
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.internet.defer import TimeoutError as TwistedTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.config.model import Limits, ProxyConfig
from egress.model.authority import Authority, IPAddress
from egress.model.errors import (
    EgressError,
    NameNotResolved,
    ResolutionTimeout,
    ResolverBusy,
    TooManyLookups,
)
from egress.runtime.threads import Offload
from egress.transport.reactor import IEgressReactor
from egress.upstream.dns_client import DnsLookups
from egress.upstream.fair_slots import FairSlots, NoSlot, Ticket
from egress.upstream.hosts_file import HostsFile
from egress.upstream.lookups import Addresses, Lookups, ReactorLookups, SystemLookups

_log = Logger()

# How long an answer is used again, in seconds.  The system's resolver does not tell its TTL; a name that moves is
# followed within this time, and a hundred requests a second to a host do not cost a hundred lookups.
CACHE_TTL = 5.0
CACHE_SIZE = 1024

# How many addresses a name may have.  The address guard judges all of them.
MAX_ADDRESSES = 256


class _Lookup:
    """One lookup, for all who wait for the name.

    @ivar tickets: one for each client that waits, until the first of them has its turn.
    @ivar waiting: those who wait, and for which client.
    @ivar asked: the lookup itself, once it has begun.
    """

    def __init__(self) -> None:
        self.tickets: dict[str, Ticket] = {}
        self.waiting: dict[Deferred[Addresses], str] = {}
        self.clients: Counter[str] = Counter()
        self.begun = False
        self.asked: Deferred[Addresses] | None = None

    def add(self, done: Deferred[Addresses], client: str) -> None:
        self.waiting[done] = client
        self.clients[client] += 1

    def remove(self, done: Deferred[Addresses]) -> str | None:
        """Wait no more.

        @return: the client, when nobody waits for it any more.
        """
        client = self.waiting.pop(done)
        self.clients[client] -= 1
        return None if self.clients[client] else client


def interleave(addresses: Sequence[IPAddress]) -> Addresses:
    """Alternate between the address families, beginning with the resolver's first choice (RFC 8305 section 4)."""
    if not addresses:
        return ()
    first = [address for address in addresses if address.version == addresses[0].version]
    second = [address for address in addresses if address.version != addresses[0].version]
    pairs = zip_longest(first, second)
    return tuple(address for pair in pairs for address in pair if address is not None)


class Resolver:
    """Resolves names, in bounded time and number.

    Those who ask for a name that is being looked up wait for the same answer, and an answer is kept for
    L{CACHE_TTL}.  A name that has no address is looked up each time.

    Lookups are bounded in all and per client, and clients take turns.  A client that asks for a name which waits in the
    queue of another also queues for it itself, and whichever turn comes first counts: sharing never makes it wait
    longer.  A lookup counts for the client in whose turn it began until it ends, wanted or not.

    @param look_ups: looks a name up.
    """

    def __init__(self, clock: IReactorTime, look_ups: Lookups, limits: Limits) -> None:
        self._clock = clock
        self._look_ups = look_ups
        self._timeout = limits.resolve_timeout
        self._turns = FairSlots(limits.lookups, limits.lookup_queue, limits.lookup_queue_per_client)
        self._under_way: dict[str, _Lookup] = {}
        self._kept: OrderedDict[str, tuple[float, Addresses]] = OrderedDict()

    @property
    def busy(self) -> int:
        """How many lookups are under way."""
        return self._turns.busy

    @property
    def waiting(self) -> int:
        """How many lookups wait for their turn."""
        return self._turns.waiting

    def resolve(self, authority: Authority, client: str = "") -> Deferred[Addresses]:
        """Find the addresses of an authority, in the order in which to try them.

        @param client: for whom, as per-client limits count clients; empty for the proxy itself.
        @return: fails with L{NameNotResolved}, L{ResolutionTimeout}, L{TooManyLookups} or L{ResolverBusy}.
        """
        literal = authority.ip
        if literal is not None:
            return succeed((literal,))
        host = authority.host
        kept = self._kept.get(host)
        if kept is not None and self._clock.seconds() < kept[0]:
            return succeed(kept[1])
        look_up = self._under_way.get(host)
        if look_up is None:
            look_up = self._under_way[host] = _Lookup()
        joined = look_up
        done: Deferred[Addresses] = Deferred(lambda done: self._give_up(host, joined, done))
        look_up.add(done, client)
        if not look_up.begun and client not in look_up.tickets:
            try:
                self._queue(host, look_up, client)
            except NoSlot as error:
                self._give_up(host, look_up, done)
                return fail(_crowded(error))
        done.addTimeout(self._timeout, self._clock)
        done.addCallbacks(_some, _explain, callbackArgs=(authority,), errbackArgs=(authority,))
        return done

    def _queue(self, host: str, look_up: _Lookup, client: str) -> None:
        ticket = self._turns.enter(client, lambda: self._begin(host, look_up, client))
        if not look_up.begun:
            look_up.tickets[client] = ticket

    def _begin(self, host: str, look_up: _Lookup, client: str) -> None:
        """It is a client's turn: look the name up, for all who wait for it."""
        look_up.begun = True
        tickets, look_up.tickets = look_up.tickets, {}
        for ticket in tickets.values():
            self._turns.leave(ticket)
        asked = look_up.asked = maybeDeferred(self._look_ups, host)
        asked.addBoth(self._found, host, look_up, client).addErrback(
            lambda failure: _log.failure("the end of a lookup failed", failure)
        )

    def _give_up(self, host: str, look_up: _Lookup, done: Deferred[Addresses]) -> None:
        if done not in look_up.waiting:
            return
        client = look_up.remove(done)
        ticket = look_up.tickets.pop(client, None) if client is not None else None
        if ticket is not None:
            self._turns.leave(ticket)
        if look_up.waiting:
            return
        # Whoever asks next has it tried once more.  What is found too late is kept all the same.
        if self._under_way.get(host) is look_up:
            del self._under_way[host]
        if look_up.asked is not None and self._look_ups.stoppable:
            look_up.asked.cancel()

    def _found(self, result: Addresses | Failure, host: str, look_up: _Lookup, client: str) -> None:
        """Take the result of a lookup."""
        if self._under_way.get(host) is look_up:
            del self._under_way[host]
        answer = self._answer(host, result)
        waiting, look_up.waiting = list(look_up.waiting), {}
        try:
            for done in waiting:
                if done.called:
                    # It was given up by what another did with its answer.
                    continue
                if isinstance(answer, EgressError):
                    done.errback(type(answer)(answer.reason))
                else:
                    done.callback(answer)
        finally:
            self._turns.over(client)

    def _answer(self, host: str, result: Addresses | Failure) -> Addresses | EgressError:
        if isinstance(result, Failure):
            if isinstance(result.value, EgressError):
                return result.value
            if not isinstance(result.value, CancelledError):
                _log.failure("a lookup failed", result)
            return NameNotResolved(f"the name {host} could not be looked up")
        if len(result) > MAX_ADDRESSES:
            return NameNotResolved(f"the name {host} has more than {MAX_ADDRESSES} addresses")
        addresses = interleave(result)
        if addresses:
            self._kept[host] = (self._clock.seconds() + CACHE_TTL, addresses)
            self._kept.move_to_end(host)
            if len(self._kept) > CACHE_SIZE:
                self._kept.popitem(last=False)
        return addresses


def _crowded(error: NoSlot) -> EgressError:
    if error.of_client:
        return TooManyLookups("too many names are being looked up for your address: try again")
    return ResolverBusy("too many names are being looked up: try again")


def _some(addresses: Addresses, authority: Authority) -> Addresses:
    if not addresses:
        raise NameNotResolved(f"the name {authority.host} has no address")
    return addresses


def _explain(failure: Failure, authority: Authority) -> Failure:
    if isinstance(failure.value, TwistedTimeout):
        raise ResolutionTimeout(f"the name {authority.host} was not resolved in time")
    return failure


def resolver_for(reactor: IEgressReactor, config: ProxyConfig, in_threads: Offload) -> Resolver:
    """Make the resolver of a proxy.

    The DNS servers of the configuration are asked; without any, the system is, unless an application has installed
    another resolver on its reactor.

    @param in_threads: runs what blocks.
    """
    look_ups: Lookups
    if config.dns_servers:
        look_ups = DnsLookups(reactor, config.dns_servers, config.limits.resolve_timeout, HostsFile.load())
    elif isinstance(reactor.nameResolver, GAIResolver):
        look_ups = SystemLookups(in_threads)
    else:
        look_ups = ReactorLookups(reactor)
    return Resolver(reactor, look_ups, config.limits)
