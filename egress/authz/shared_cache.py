"""The second level of the decision cache: decisions that all replicas share, and one call for the same request.

The first level, L{egress.authz.cache}, is in each process.  Here, a decision is found although another replica, or
another worker, sent the request to the authorizer.  Redis contains only sealed values (L{egress.shared.keys}), so
only a holder of the key can write an allow.  Each failure of the engine only means that the authorizer is called.
"""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.authz.cache import MAX_SCOPES, NOT_STALE
from egress.authz.cache_key import ALL, CacheScope, Parts, key_of, known_parts, scope_of
from egress.authz.decision_store import MAX_LISTS, DecisionStore, lifetime
from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from egress.model.statistics import SharedCacheStats
from egress.shared.client import SharedClient
from egress.shared.decision_codec import SharedDecision, decode, encode
from egress.shared.keys import SharedKeys
from egress.shared.redis_protocol import Argument, CommandRejected, SharedUnavailable

_log = Logger()

# The engine did not do what it should: the proxy continues without it.
_UNUSABLE: Final = (SharedUnavailable, CommandRejected)

MAX_VALUE: Final = 64 * 1024
"""The maximum size of a value, in bytes: larger decisions are not shared, and larger values are not read."""

LEASE: Final = 1.0
"""Seconds after which the lease of a replica that was killed expires."""

RENEWAL: Final = 0.4
"""Seconds after which a lease is renewed."""

FIRST_POLL: Final = 0.01
LAST_POLL: Final = 0.1
"""Seconds between two looks at a decision that another replica requests, doubled after each one."""

MAX_SKEW: Final = 2.0
"""Seconds by which the clocks of replicas may differ."""

# Rejected values are logged at most once in this number of seconds.
_LOG_INTERVAL: Final = 60.0

READ: Final = (
    "local found={} for i,name in ipairs(KEYS) do found[i]=redis.call('getrange',name,0,ARGV[1]) end return found"
)
"""Reads the beginnings of values: a value of someone else can be larger than the memory."""

RENEW: Final = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) end return 0"
"""Renews a lease, unless another replica has it."""

RELEASE: Final = "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0"
"""Releases a lease, unless another replica has it."""


@attrs.frozen
class _Found:
    """The result of a lookup.

    @ivar lists: the lists of parts on which decisions for this scope depend, the latest one last.
    @ivar names: the names of the values for this request that exist.
    @ivar decision: the latest decision, fresh or stale; C{None}: there is none.
    """

    lists: tuple[Parts, ...] = ()
    names: tuple[bytes, ...] = ()
    decision: SharedDecision | None = None


class SharedCachingAuthorizer(Wrapper):
    """Calls an authorizer only when no replica has cached a matching decision, as far as the authorizer permits it.

    @param authorizer: fails only with L{AuthorizerUnavailable}.
    @param now: returns the time in seconds since the epoch.
    @param max_ttl: the maximum time to live, in seconds.
    @param max_stale: the maximum number of seconds beyond the time to live, while the authorizer does not respond.
    @param patience: the maximum seconds for which a request waits for a call of another replica.
    @param max_waiting: the number of requests that can wait; beyond it, each request makes its own call.
    """

    def __init__(
        self,
        clock: IReactorTime,
        authorizer: IAuthorizer,
        client: SharedClient,
        keys: SharedKeys,
        *,
        now: Callable[[], float],
        max_ttl: float,
        max_stale: float,
        patience: float,
        max_waiting: int,
    ) -> None:
        super().__init__(authorizer)
        self._clock = clock
        self._client = client
        self._keys = keys
        self._now = now
        self._max_ttl = max_ttl
        self._max_stale = max_stale
        self._patience = patience
        self._max_waiting = max_waiting
        self._waiting = 0
        # The lists as they were last seen; None: the latest decision was not reusable, so a lookup finds nothing.
        self._lists: OrderedDict[CacheScope, tuple[Parts, ...] | None] = OrderedDict()
        # Decisions on requests from before this time are not used.
        self._since = 0.0
        self._generation = 0
        self._hits = self._misses = self._stale = self._waited = self._failed = self._rejected = 0
        self._logged: float | None = None

    def start(self) -> None:
        """Connect to the engine."""
        self._client.start()

    def close(self) -> Deferred[None]:
        """Close the connection to the engine, and the authorizer."""
        self._client.stop()
        return super().close()

    def check_shared(self) -> Deferred[str | None]:
        """Return a note for the readiness check while the engine cannot be used."""
        return self._client.check()

    def stats(self) -> SharedCacheStats:
        """Return the counts of lookups by result."""
        return SharedCacheStats(
            hits=self._hits,
            misses=self._misses,
            stale=self._stale,
            waited=self._waited,
            failed=self._failed,
            rejected=self._rejected,
        )

    def clear(self) -> None:
        """Do not use any decision on a request from before now, and do not share the results of calls in progress."""
        self._generation += 1
        self._since = self._now() + MAX_SKEW
        self._lists.clear()

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Return a decision that a replica has cached, wait for the call of another replica, or make a call."""
        scope = scope_of(request)
        known = self._lists.get(scope, ())
        if known is None or not self._client.is_ready:
            return self._ask(request, scope, _Found(), shares=self._client.is_ready)
        return self._look(request, scope)

    @inlineCallbacks
    def _look(self, request: DecisionRequest, scope: CacheScope) -> Generator[Deferred[Any], Any, Decision]:
        found, lease = _Found(), None
        try:
            found = yield self._lookup(request, scope)
            if not self._is_fresh(found):
                lease = yield self._acquire(request, scope)
                if lease is None:
                    found = yield self._wait(request, scope)
        except _UNUSABLE:
            self._failed += 1
        if found.decision is not None and self._is_fresh(found):
            self._hits += 1
            return self._reused(found.decision)
        try:
            decision: Decision = yield self._ask(request, scope, found, shares=True)
        finally:
            if lease is not None:
                lease.release()
        return decision

    # -- the authorizer

    @inlineCallbacks
    def _ask(
        self, request: DecisionRequest, scope: CacheScope, found: _Found, *, shares: bool
    ) -> Generator[Deferred[Any], Any, Decision]:
        generation, asked = self._generation, self._now()
        self._misses += 1
        try:
            decision: Decision = yield self._authorizer.decide(request)
        except AuthorizerUnavailable as error:
            cached = found.decision
            if cached is None or error.kind in NOT_STALE or self._now() >= cached.stale_until:
                raise
            self._stale += 1
            # It is not cached again.
            return attrs.evolve(cached.decision, source="stale", ttl=None, stale_if_error=None)
        if shares and generation == self._generation:
            self._share(request, scope, found, decision, asked)
        return decision

    def _share(
        self, request: DecisionRequest, scope: CacheScope, found: _Found, decision: Decision, asked: float
    ) -> None:
        """Store a decision, in place of all earlier ones for the request.

        The connection keeps the order of commands, so that the lease is released after them.
        """
        ttl, stale = lifetime(decision, self._max_ttl, self._max_stale)
        parts = known_parts(decision.cache_key) if ttl + stale > 0 else None
        if not DecisionStore.reusable(decision):
            # There is nothing to look up until a decision is reusable.
            self._remember(scope, found.lists or None)
        if found.names:
            self._change("DEL", *found.names)
        if parts is None:
            return
        shared = SharedDecision(
            decision=decision, since=asked, fresh_until=asked + ttl, stale_until=asked + ttl + stale
        )
        name = self._name(scope, request, parts)
        value = self._keys.seal(name, encode(shared))
        if len(value) > MAX_VALUE:
            return
        self._change("SET", name, value, "PX", max(1, round(1000 * (ttl + stale))))
        lists = (*[each for each in found.lists if each != parts], parts)[-MAX_LISTS:]
        self._remember(scope, lists)
        where = self._lists_name(scope)
        everything = self._keys.seal(where, json.dumps(lists).encode("ascii"))
        self._change("SET", where, everything, "PX", round(1000 * (self._max_ttl + self._max_stale)))

    def _change(self, *arguments: Argument) -> None:
        self._client.call(*arguments).addErrback(self._not_shared)

    def _not_shared(self, failure: Failure) -> None:
        failure.trap(*_UNUSABLE)  # type: ignore[no-untyped-call]
        self._failed += 1

    # -- lookups

    @inlineCallbacks
    def _lookup(self, request: DecisionRequest, scope: CacheScope) -> Generator[Deferred[Any], Any, _Found]:
        """Find the latest decision for a request, in one turn if the lists are as they were last seen."""
        where = self._lists_name(scope)
        lists = self._lists.get(scope) or ()
        names = tuple(self._name(scope, request, parts) for parts in lists)
        everything, *values = yield self._read(where, *names)
        current = self._read_lists(where, everything)
        if current != lists:
            self._remember(scope, current)
            lists = current
            names = tuple(self._name(scope, request, parts) for parts in lists)
            values = (yield self._read(*names)) if names else []
        found: SharedDecision | None = None
        for name, value in zip(names, values, strict=True):
            read = self._read_decision(name, value)
            if read is not None and (found is None or read.since > found.since):
                found = read
        return _Found(lists, tuple(name for name, value in zip(names, values, strict=True) if value), found)

    def _read(self, *names: bytes) -> Deferred[list[bytes]]:
        """Return the beginnings of values; empty ones for missing values."""
        return self._client.call("EVAL", READ, len(names), *names, MAX_VALUE)

    def _read_lists(self, name: bytes, value: bytes) -> tuple[Parts, ...]:
        content = self._unsealed(name, value)
        return () if content is None else tuple(tuple(parts) for parts in json.loads(content))[-MAX_LISTS:]

    def _read_decision(self, name: bytes, value: bytes) -> SharedDecision | None:
        content = self._unsealed(name, value)
        shared = None if content is None else decode(content)
        if shared is None or shared.since < self._since:
            return None
        # The limits of this replica apply, too, and a clock that is ahead does not prolong a decision.
        latest = shared.since + self._max_ttl
        fresh_until, stale_until = min(shared.fresh_until, latest), min(shared.stale_until, latest + self._max_stale)
        now = self._now()
        if shared.since > now + MAX_SKEW or now >= stale_until:
            return None
        return attrs.evolve(shared, fresh_until=fresh_until, stale_until=stale_until)

    def _unsealed(self, name: bytes, value: bytes) -> bytes | None:
        if not value:
            return None
        content = self._keys.unseal(name, value)
        if content is None:
            self._rejected += 1
            now = self._clock.seconds()
            if self._logged is None or now - self._logged >= _LOG_INTERVAL:
                self._logged = now
                _log.warn(
                    "shared state: rejected a value that no holder of --shared-key-file wrote: "
                    "do all replicas have the same key?"
                )
        return content

    def _is_fresh(self, found: _Found) -> bool:
        return found.decision is not None and self._now() < found.decision.fresh_until

    def _reused(self, shared: SharedDecision) -> Decision:
        """Return a decision with the rest of its life, so that the first level caches it no longer."""
        now = self._now()
        decision = shared.decision
        ttl = min(shared.fresh_until - now, self._max_ttl)
        stale = min(decision.stale_if_error or 0.0, max(0.0, shared.stale_until - shared.fresh_until))
        return attrs.evolve(decision, source="replica", ttl=ttl, stale_if_error=stale or None)

    # -- leases

    @inlineCallbacks
    def _acquire(self, request: DecisionRequest, scope: CacheScope) -> Generator[Deferred[Any], Any, _Lease | None]:
        """Try to become the replica that calls the authorizer for a request."""
        name = self._lease_name(scope, request)
        token = os.urandom(16).hex()
        done = yield self._client.call("SET", name, token, "NX", "PX", round(1000 * LEASE))
        return None if done is None else _Lease(self._clock, self._client, name, token)

    @inlineCallbacks
    def _wait(self, request: DecisionRequest, scope: CacheScope) -> Generator[Deferred[Any], Any, _Found]:
        """Wait until another replica has a decision, or has ended its call without one."""
        if self._waiting >= self._max_waiting:
            return _Found()
        self._waiting += 1
        self._waited += 1
        try:
            name, delay = self._lease_name(scope, request), FIRST_POLL
            until = self._clock.seconds() + self._patience
            while True:
                yield deferLater(self._clock, delay, lambda: None)
                # In this order: the decision is stored before the lease is released.
                exists = yield self._client.call("EXISTS", name)
                found: _Found = yield self._lookup(request, scope)
                if self._is_fresh(found) or not exists or self._clock.seconds() >= until:
                    return found
                delay = min(2 * delay, LAST_POLL)
        finally:
            self._waiting -= 1

    # -- names

    def _name(self, scope: CacheScope, request: DecisionRequest, parts: Parts) -> bytes:
        return self._keys.name(_group(scope), b"decision", key_of(request, parts))

    def _lists_name(self, scope: CacheScope) -> bytes:
        return self._keys.name(_group(scope), b"lists")

    def _lease_name(self, scope: CacheScope, request: DecisionRequest) -> bytes:
        return self._keys.name(_group(scope), b"lease", key_of(request, ALL))

    def _remember(self, scope: CacheScope, lists: Iterable[Parts] | None) -> None:
        self._lists[scope] = None if lists is None else tuple(lists)
        self._lists.move_to_end(scope)
        if len(self._lists) > MAX_SCOPES:
            self._lists.popitem(last=False)


class _Lease:
    """The right of this replica to make a call for all others; it is renewed until it is released."""

    def __init__(self, clock: IReactorTime, client: SharedClient, name: bytes, token: str) -> None:
        self._clock = clock
        self._client = client
        self._name = name
        self._token = token
        self._timer: IDelayedCall = clock.callLater(RENEWAL, self._renew)

    def _renew(self) -> None:
        self._timer = self._clock.callLater(RENEWAL, self._renew)
        self._run(RENEW, round(1000 * LEASE))

    def release(self) -> None:
        """Let other replicas make a call."""
        self._timer.cancel()
        self._run(RELEASE)

    def _run(self, script: str, *arguments: int) -> None:
        # It expires if the engine cannot be reached.
        self._client.call("EVAL", script, 1, self._name, self._token, *arguments).addErrback(lambda _: None)


def _group(scope: CacheScope) -> bytes:
    return repr(scope).encode("utf-8")
