"""The resolver: converts the name of an origin to addresses."""

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

# The seconds for which a result is cached.  The system's resolver does not report the TTL of a name.  The proxy notices
# a change within this time, and a hundred requests per second to one host do not need a hundred lookups.
CACHE_TTL = 5.0
CACHE_SIZE = 1024

# The maximum number of addresses of a name.  The address guard checks all of them.
MAX_ADDRESSES = 256


class _Lookup:
    """One lookup, shared by all requests that wait for the name.

    @ivar tickets: one queue entry for each waiting client, until the first of them gets a slot.
    @ivar waiting: the waiting requests, with their clients.
    @ivar running: the running lookup.
    """

    def __init__(self) -> None:
        self.tickets: dict[str, Ticket] = {}
        self.waiting: dict[Deferred[Addresses], str] = {}
        self.clients: Counter[str] = Counter()
        self.begun = False
        self.running: Deferred[Addresses] | None = None

    def add(self, done: Deferred[Addresses], client: str) -> None:
        self.waiting[done] = client
        self.clients[client] += 1

    def remove(self, done: Deferred[Addresses]) -> str | None:
        """Remove a waiting request.

        @return: the client, if this was its last waiting request.
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
    """Resolves names, with a timeout and limits.

    Requests for a name that is being looked up share one lookup, and its result is cached for L{CACHE_TTL}.  A name
    without addresses is not cached.

    Lookups are limited in total and per client, and clients take turns.  A client that requests a name which is already
    queued for another client also gets its own queue entry.  The first entry that gets a slot starts the lookup, so
    sharing never delays a client.  A lookup counts for the client whose entry started it until it ends, even if no
    request waits for it any more.

    @param look_ups: looks up a name.
    """

    def __init__(self, clock: IReactorTime, look_ups: Lookups, limits: Limits) -> None:
        self._clock = clock
        self._look_ups = look_ups
        self._timeout = limits.resolve_timeout
        self._turns = FairSlots(limits.lookups, limits.lookup_queue, limits.lookup_queue_per_client)
        self._under_way: dict[str, _Lookup] = {}
        self._cached: OrderedDict[str, tuple[float, Addresses]] = OrderedDict()

    @property
    def busy(self) -> int:
        """The number of running lookups."""
        return self._turns.busy

    @property
    def waiting(self) -> int:
        """The number of queued lookups."""
        return self._turns.waiting

    def resolve(self, authority: Authority, client: str = "") -> Deferred[Addresses]:
        """Resolve an authority to its addresses, in the order of connection attempts.

        @param authority: the host and port; a host that is an address is not looked up.
        @param client: the client, in the form that per-client limits use; empty for the proxy itself.
        @return: fails with L{NameNotResolved}, L{ResolutionTimeout}, L{TooManyLookups} or L{ResolverBusy}.
        """
        literal = authority.ip
        if literal is not None:
            return succeed((literal,))
        host = authority.host
        cached = self._cached.get(host)
        if cached is not None and self._clock.seconds() < cached[0]:
            return succeed(cached[1])
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
                return fail(_queue_full_error(error))
        done.addTimeout(self._timeout, self._clock)
        done.addCallbacks(_require_addresses, _convert_timeout, callbackArgs=(authority,), errbackArgs=(authority,))
        return done

    def _queue(self, host: str, look_up: _Lookup, client: str) -> None:
        ticket = self._turns.enter(client, lambda: self._begin(host, look_up, client))
        if not look_up.begun:
            look_up.tickets[client] = ticket

    def _begin(self, host: str, look_up: _Lookup, client: str) -> None:
        """Start the lookup, for all waiting requests."""
        look_up.begun = True
        tickets, look_up.tickets = look_up.tickets, {}
        for ticket in tickets.values():
            self._turns.leave(ticket)
        running = look_up.running = maybeDeferred(self._look_ups, host)
        running.addBoth(self._found, host, look_up, client).addErrback(
            lambda failure: _log.failure("a callback of a DNS lookup failed", failure)
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
        # The next request for the name starts a new lookup.  The result of this lookup is cached even if it is late.
        if self._under_way.get(host) is look_up:
            del self._under_way[host]
        if look_up.running is not None and self._look_ups.stoppable:
            look_up.running.cancel()

    def _found(self, result: Addresses | Failure, host: str, look_up: _Lookup, client: str) -> None:
        """Process the result of a lookup."""
        if self._under_way.get(host) is look_up:
            del self._under_way[host]
        outcome = self._convert(host, result)
        waiting, look_up.waiting = list(look_up.waiting), {}
        try:
            for done in waiting:
                if done.called:
                    # A callback of an earlier request cancelled this one.
                    continue
                if isinstance(outcome, EgressError):
                    done.errback(type(outcome)(outcome.reason))
                else:
                    done.callback(outcome)
        finally:
            self._turns.over(client)

    def _convert(self, host: str, result: Addresses | Failure) -> Addresses | EgressError:
        if isinstance(result, Failure):
            if isinstance(result.value, EgressError):
                return result.value
            if not isinstance(result.value, CancelledError):
                _log.failure("a DNS lookup failed", result)
            return NameNotResolved(f"the lookup of {host} failed")
        if len(result) > MAX_ADDRESSES:
            return NameNotResolved(f"the name {host} has more than {MAX_ADDRESSES} addresses")
        addresses = interleave(result)
        if addresses:
            self._cached[host] = (self._clock.seconds() + CACHE_TTL, addresses)
            self._cached.move_to_end(host)
            if len(self._cached) > CACHE_SIZE:
                self._cached.popitem(last=False)
        return addresses


def _queue_full_error(error: NoSlot) -> EgressError:
    if error.of_client:
        return TooManyLookups("too many DNS lookups for your address are in progress: try again later")
    return ResolverBusy("too many DNS lookups are in progress: try again later")


def _require_addresses(addresses: Addresses, authority: Authority) -> Addresses:
    if not addresses:
        raise NameNotResolved(f"the name {authority.host} has no address")
    return addresses


def _convert_timeout(failure: Failure, authority: Authority) -> Failure:
    if isinstance(failure.value, TwistedTimeout):
        raise ResolutionTimeout(f"the name {authority.host} was not resolved in time")
    return failure


def resolver_for(reactor: IEgressReactor, config: ProxyConfig, in_threads: Offload) -> Resolver:
    """Create the resolver of a proxy.

    It queries the configured DNS servers.  Without DNS servers it queries the system, unless an application has
    installed another resolver on its reactor.

    @param reactor: the reactor.
    @param config: the configuration.
    @param in_threads: runs blocking functions.
    """
    look_ups: Lookups
    if config.dns_servers:
        look_ups = DnsLookups(reactor, config.dns_servers, config.limits.resolve_timeout, HostsFile.load())
    elif isinstance(reactor.nameResolver, GAIResolver):
        look_ups = SystemLookups(in_threads)
    else:
        look_ups = ReactorLookups(reactor)
    return Resolver(reactor, look_ups, config.limits)
