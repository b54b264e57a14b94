"""The second level of the decision cache: decisions that all replicas share, and one call for the same request.

The first level, L{egress.authz.cache}, is in each process.  Here, a decision is found although another replica, or
another worker, sent the request to the authorizer.  Redis contains only sealed values (L{egress.shared.keys}), so
only a holder of the key can write an allow.  Each failure of the engine only means that the authorizer is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any, Final

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from egress.authz.cache import NOT_STALE
from egress.authz.cache_key import CacheScope, scope_of
from egress.authz.shared_decisions import Found, SharedDecisions
from egress.authz.wrapper import Wrapper
from egress.config.model import ProxyConfig
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuthorizerUnavailable
from egress.model.revocation import Revocation
from egress.model.statistics import SharedCacheStats
from egress.shared.client import SharedClient
from egress.shared.redis_protocol import UNUSABLE
from egress.shared.script import Script
from egress.shared.state import SharedState

LEASE: Final = 1.0
"""Seconds after which the lease of a replica that was killed expires."""

RENEWAL: Final = 0.4
"""Seconds after which a lease is renewed."""

FIRST_POLL: Final = 0.01
LAST_POLL: Final = 0.1
"""Seconds between two looks at a decision that another replica requests, doubled after each one."""

RENEW: Final = Script(
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('pexpire',KEYS[1],ARGV[2]) end return 0"
)
"""Renews a lease, unless another replica has it."""

RELEASE: Final = Script("if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) end return 0")
"""Releases a lease, unless another replica has it."""


class SharedCachingAuthorizer(Wrapper):
    """Calls an authorizer only when no replica has cached a matching decision, as far as the authorizer permits it.

    @param authorizer: fails only with L{AuthorizerUnavailable}.
    @param decisions: the decisions in the engine.
    @param now: returns the time in seconds since the epoch.
    @param patience: the maximum seconds for which a request waits for a call of another replica.
    @param max_waiting: the number of requests that can wait; beyond it, each request makes its own call.
    """

    def __init__(
        self,
        clock: IReactorTime,
        authorizer: IAuthorizer,
        client: SharedClient,
        decisions: SharedDecisions,
        *,
        now: Callable[[], float],
        patience: float,
        max_waiting: int,
    ) -> None:
        super().__init__(authorizer)
        self._clock = clock
        self._client = client
        self._decisions = decisions
        self._now = now
        self._patience = patience
        self._max_waiting = max_waiting
        self._waiting = 0
        # Decisions on requests from before the last clear() are not shared.
        self._generation = 0
        self._hits = self._misses = self._stale = self._waited = self._failed = 0

    def stats(self) -> SharedCacheStats:
        """Return the counts of lookups by result."""
        return SharedCacheStats(
            hits=self._hits,
            misses=self._misses,
            stale=self._stale,
            waited=self._waited,
            failed=self._failed + self._decisions.failed,
            rejected=self._decisions.rejected,
        )

    def clear(self) -> None:
        """Do not use any decision on a request from before now, and do not share the results of calls in progress."""
        self._generation += 1
        self._decisions.clear()

    def revoke(self, revocation: Revocation) -> None:
        """Do not use or share decisions on requests from before a revocation."""
        self._generation += 1
        self._decisions.revoke(revocation.revocation_id)

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Return a decision that a replica has cached, wait for the call of another replica, or make a call."""
        scope = scope_of(request)
        if not self._client.is_ready:
            return self._ask(request, scope, Found(), shares=False)
        if not self._decisions.may_contain(scope):
            return self._ask(request, scope, Found(), shares=True)
        looking: Deferred[Any] = self._decisions.lookup(request, scope)
        return looking.addCallbacks(
            self._looked, self._not_looked, callbackArgs=(request, scope), errbackArgs=(request, scope)
        )

    def _looked(self, found: Found, request: DecisionRequest, scope: CacheScope) -> Decision | Deferred[Decision]:
        return self._reused(found) or self._missed(request, scope, found)

    def _not_looked(self, failure: Failure, request: DecisionRequest, scope: CacheScope) -> Deferred[Decision]:
        failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]
        self._failed += 1
        return self._ask(request, scope, Found(), shares=True)

    def _reused(self, found: Found) -> Decision | None:
        """Return a fresh decision with the rest of its life, so that the first level caches it no longer."""
        shared, left = found.decision, found.fresh_for(self._now())
        if shared is None or left <= 0:
            return None
        self._hits += 1
        return shared.decision.reused("replica", left, shared.stale_until - shared.fresh_until or None)

    @inlineCallbacks
    def _missed(
        self, request: DecisionRequest, scope: CacheScope, found: Found
    ) -> Generator[Deferred[Any], Any, Decision]:
        """Make a call for all replicas, or wait for the one that another replica makes."""
        acquiring: Deferred[_Lease | None] = self._acquire(request, scope)
        # Another replica can have shared a decision, and released its lease, since the first lookup.
        looking = self._decisions.lookup(request, scope).addErrback(self._nothing_new, found)
        lease: _Lease | None = None
        try:
            try:
                lease = yield acquiring
                found = yield looking
                if lease is None and found.fresh_for(self._now()) <= 0 and self._waiting < self._max_waiting:
                    found = yield self._wait(request, scope)
                reused = self._reused(found)
                if reused is not None:
                    return reused
            except UNUSABLE:
                self._failed += 1
            decision: Decision = yield self._ask(request, scope, found, shares=True)
            return decision
        finally:
            if lease is not None:
                lease.release()

    def _nothing_new(self, failure: Failure, found: Found) -> Found:
        failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]
        return found

    @inlineCallbacks
    def _ask(
        self, request: DecisionRequest, scope: CacheScope, found: Found, *, shares: bool
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
            return cached.decision.reused("stale", None, None)
        if shares and generation == self._generation:
            self._decisions.share(request, scope, found, decision, asked)
        return decision

    # -- leases

    @inlineCallbacks
    def _acquire(self, request: DecisionRequest, scope: CacheScope) -> Generator[Deferred[Any], Any, _Lease | None]:
        """Try to become the replica that calls the authorizer for a request."""
        name = self._decisions.lease_name(request, scope)
        token = os.urandom(16).hex()
        done = yield self._client.call("SET", name, token, "NX", "PX", round(1000 * LEASE))
        return None if done is None else _Lease(self._clock, self._client, name, token)

    @inlineCallbacks
    def _wait(self, request: DecisionRequest, scope: CacheScope) -> Generator[Deferred[Any], Any, Found]:
        """Wait until another replica has a decision, or has ended its call without one."""
        self._waiting += 1
        self._waited += 1
        try:
            name, delay = self._decisions.lease_name(request, scope), FIRST_POLL
            until = self._clock.seconds() + self._patience
            while True:
                yield deferLater(self._clock, delay, lambda: None)
                # In this order: the decision is stored before the lease is released.
                exists = yield self._client.call("EXISTS", name)
                found: Found = yield self._decisions.lookup(request, scope)
                if found.fresh_for(self._now()) > 0 or not exists or self._clock.seconds() >= until:
                    return found
                delay = min(2 * delay, LAST_POLL)
        finally:
            self._waiting -= 1


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

    def _run(self, script: Script, *arguments: int) -> None:
        # It expires if the engine cannot be reached.
        self._client.run(script, [self._name], self._token, *arguments).addErrback(lambda _: None)


def shared_cache_of(
    config: ProxyConfig,
    clock: IReactorTime,
    authorizer: IAuthorizer,
    name: str,
    *,
    state: SharedState,
    now: Callable[[], float],
) -> SharedCachingAuthorizer:
    """Return the cache that a configuration describes.

    @param authorizer: fails only with L{AuthorizerUnavailable}.
    @param name: the name of the authorizer; replicas share only decisions of the same one.
    """
    decisions = SharedDecisions(
        clock,
        state.client,
        state.keys(name),
        now=now,
        max_ttl=config.authz_max_ttl,
        max_stale=config.authz_max_stale,
    )
    state.events.on_since = decisions.use_since
    return SharedCachingAuthorizer(
        clock,
        authorizer,
        state.client,
        decisions,
        now=now,
        patience=config.authz_timeout,
        max_waiting=config.authz_queue,
    )
