"""Decisions that all replicas share: their names, their values in the engine, and lookups.

As in L{egress.authz.decision_store}, an authorizer names the parts of a request on which a decision depends.  For each
stage and origin, one value contains the lists of parts.  A lookup reads it together with the decisions under the lists
that this process already knows, so it usually is one command.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.authz.cache import MAX_SCOPES
from egress.authz.cache_key import ALL, CacheScope, Parts, key_of, known_parts
from egress.authz.decision_store import MAX_LISTS, DecisionStore, lifetime
from egress.model.decision import Decision, DecisionRequest
from egress.shared.client import SharedClient
from egress.shared.decision_codec import SharedDecision, decode, encode
from egress.shared.events import MAX_SKEW
from egress.shared.keys import SharedKeys
from egress.shared.redis_protocol import UNUSABLE
from egress.shared.script import Argument, Script

_log = Logger()

MAX_VALUE: Final = 64 * 1024
"""The maximum size of a value, in bytes: larger decisions are not shared, and larger values are not read."""

READ: Final = Script(
    "local found={} for i,name in ipairs(KEYS) do found[i]=redis.call('getrange',name,0,ARGV[1]) end return found"
)
"""Reads the beginnings of values: a value of someone else can be larger than the memory."""

MAX_REVOCATIONS: Final = 64
"""The maximum number of revocations that are compared with those of a decision."""

_MAX_KNOWN: Final = 16
# Replicas learn of a revocation within this number of seconds, so later decisions need not name it.
_KNOWN_SECONDS: Final = 10.0

# Rejected values are logged at most once in this number of seconds.
_LOG_INTERVAL: Final = 60.0


class Found:
    """The result of a lookup.

    @ivar names: the names of the values for the request that exist.
    @ivar decision: the latest decision, fresh or stale; C{None}: there is none.
    """

    __slots__ = ("decision", "names")

    def __init__(self, names: Sequence[bytes] = (), decision: SharedDecision | None = None) -> None:
        self.names = names
        self.decision = decision

    def fresh_for(self, now: float) -> float:
        """Return the seconds for which the decision can be reused; zero or less: it cannot.

        @param now: the time in seconds since the epoch.
        """
        return 0.0 if self.decision is None else self.decision.fresh_until - now


class _Scope:
    """What this process knows of a stage and an origin.

    @ivar group: the group of the names.
    @ivar where: the name of the value with the lists of parts.
    @ivar value: that value, as it was last seen.
    @ivar lists: the lists of parts, the latest one last.
    @ivar is_reusable: whether a lookup can find something: the latest decision was reusable, or there is none.
    """

    __slots__ = ("group", "is_reusable", "lists", "value", "where")

    def __init__(self, group: bytes, where: bytes) -> None:
        self.group = group
        self.where = where
        self.value = b""
        self.lists: tuple[Parts, ...] = ()
        self.is_reusable = True


class SharedDecisions:
    """The decisions in the engine.

    @param now: returns the time in seconds since the epoch.
    @param max_ttl: the maximum time to live, in seconds.
    @param max_stale: the maximum number of seconds beyond the time to live, while the authorizer does not respond.
    @ivar failed: the number of changes that failed.
    @ivar rejected: the number of values that no holder of the key wrote.
    """

    def __init__(
        self,
        clock: IReactorTime,
        client: SharedClient,
        keys: SharedKeys,
        *,
        now: Callable[[], float],
        max_ttl: float,
        max_stale: float,
    ) -> None:
        self.failed = self.rejected = 0
        self._clock = clock
        self._client = client
        self._keys = keys
        self._now = now
        self._max_ttl = max_ttl
        self._max_stale = max_stale
        self._scopes: OrderedDict[CacheScope, _Scope] = OrderedDict()
        # Decisions on requests from before these times are not used: the last clear(), and what other replicas know.
        self._cleared, self._since = 0.0, math.inf
        # The same for each revocation, the last one at the end, unless the replica that asked knew the revocation.
        self._revoked: OrderedDict[str, float] = OrderedDict()
        self._logged: float | None = None

    def clear(self) -> None:
        """Do not use any decision on a request from before now."""
        self._cleared = self._now() + MAX_SKEW
        self._scopes.clear()

    def revoke(self, revocation_id: str) -> None:
        """Do not use a decision on a request from before now, unless its replica knew this revocation before it asked.

        Without the second condition, a decision would have to be later than the difference of all clocks.
        """
        self._revoked[revocation_id] = self._now() + MAX_SKEW
        if len(self._revoked) > MAX_REVOCATIONS:
            _, time = self._revoked.popitem(last=False)
            self._cleared = max(self._cleared, time)
        self._scopes.clear()

    def _is_void(self, shared: SharedDecision) -> bool:
        since = shared.since
        if since < self._since or since < self._cleared:
            return True
        return any(since < time and name not in shared.revocations for name, time in self._revoked.items())

    def _known(self, asked: float) -> tuple[str, ...]:
        """Return the revocations that this process knew when it asked: a later one voids the decision immediately."""
        learned = [name for name, time in self._revoked.items() if asked < time - MAX_SKEW + _KNOWN_SECONDS]
        return tuple(learned[-_MAX_KNOWN:])

    def use_since(self, since: float) -> None:
        """Use decisions on requests from this time on, in seconds since the epoch, unless L{clear} was called later."""
        self._since = since

    def may_contain(self, scope: CacheScope) -> bool:
        """Return whether a lookup for a stage and an origin can find a decision."""
        known = self._scopes.get(scope)
        return known is None or known.is_reusable

    # -- lookups

    def lookup(self, request: DecisionRequest, scope: CacheScope) -> Deferred[Found]:
        """Find the latest decision for a request.

        @return: fires with the result.  It fails with one of L{UNUSABLE}.
        """
        known = self._scope(scope)
        lists, names = known.lists, self._names(known, request)
        return self._read(known.where, *names).addCallback(self._with_lists, request, known, lists, names)

    def _with_lists(
        self,
        values: list[bytes],
        request: DecisionRequest,
        scope: _Scope,
        lists: tuple[Parts, ...],
        names: list[bytes],
    ) -> Found | Deferred[Found]:
        value = values.pop(0)
        if value != scope.value:
            scope.value = value
            content = self._unsealed(scope.where, value)
            scope.lists = () if content is None else tuple(map(tuple, json.loads(content)))[-MAX_LISTS:]
        # Another lookup can have changed the lists meanwhile.
        if scope.lists == lists:
            return self._latest(values, names)
        names = self._names(scope, request)
        return self._read(*names).addCallback(self._latest, names) if names else Found()

    def _read(self, *names: bytes) -> Deferred[Any]:
        """Return the beginnings of values; empty ones for missing values."""
        return self._client.run(READ, names, MAX_VALUE)

    def _latest(self, values: list[bytes], names: list[bytes]) -> Found:
        found: SharedDecision | None = None
        for name, value in zip(names, values, strict=True):
            read = self._decision(name, value) if value else None
            if read is not None and (found is None or read.since > found.since):
                found = read
        return Found([name for name, value in zip(names, values, strict=True) if value], found)

    def _decision(self, name: bytes, value: bytes) -> SharedDecision | None:
        content = self._unsealed(name, value)
        shared = None if content is None else decode(content)
        if shared is None or self._is_void(shared):
            return None
        # The limits of this replica apply, too, and a clock that is ahead does not prolong a decision.
        latest = shared.since + self._max_ttl
        stale_until = min(shared.stale_until, latest + self._max_stale)
        if not shared.since - MAX_SKEW <= self._now() < stale_until:
            return None
        fresh_until = min(shared.fresh_until, latest)
        return SharedDecision(shared.decision, shared.since, fresh_until, stale_until, shared.revocations)

    def _unsealed(self, name: bytes, value: bytes) -> bytes | None:
        content = self._keys.unseal(name, value) if value else None
        if value and content is None:
            self.rejected += 1
            now = self._clock.seconds()
            if self._logged is None or now - self._logged >= _LOG_INTERVAL:
                self._logged = now
                _log.warn(
                    "shared state: rejected a value that no holder of --shared-key-file wrote: "
                    "do all replicas have the same key?"
                )
        return content

    # -- changes

    def share(
        self, request: DecisionRequest, scope: CacheScope, found: Found, decision: Decision, asked: float
    ) -> None:
        """Store a decision, in place of all earlier ones for the request.

        The connection keeps the order of commands, so that a lease is released after them.

        @param found: the result of the lookup before the call of the authorizer.
        @param asked: the time of this call.
        """
        known = self._scope(scope)
        # Until a decision is reusable, there is nothing to look up.
        known.is_reusable = DecisionStore.reusable(decision) or bool(known.lists)
        if found.names:
            self._change("DEL", *found.names)
        ttl, stale = lifetime(decision, self._max_ttl, self._max_stale)
        parts = known_parts(decision.cache_key) if ttl + stale > 0 else None
        if parts is None:
            return
        name = self._keys.name(known.group, b"decision", key_of(request, parts))
        shared = SharedDecision(decision, asked, asked + ttl, asked + ttl + stale, self._known(asked))
        value = self._keys.seal(name, encode(shared))
        if len(value) > MAX_VALUE:
            return
        self._change("SET", name, value, "PX", max(1, round(1000 * (ttl + stale))))
        known.lists = (*[each for each in known.lists if each != parts], parts)[-MAX_LISTS:]
        known.value = self._keys.seal(known.where, json.dumps(known.lists).encode("ascii"))
        self._change("SET", known.where, known.value, "PX", round(1000 * (self._max_ttl + self._max_stale)))

    def _change(self, *arguments: Argument) -> None:
        self._client.call(*arguments).addErrback(self._not_shared)

    def _not_shared(self, failure: Failure) -> None:
        failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]
        self.failed += 1

    # -- names

    def lease_name(self, request: DecisionRequest, scope: CacheScope) -> bytes:
        """Return the name of the lease for a request."""
        return self._keys.name(self._scope(scope).group, b"lease", key_of(request, ALL))

    def _names(self, scope: _Scope, request: DecisionRequest) -> list[bytes]:
        name, group = self._keys.name, scope.group
        return [name(group, b"decision", key_of(request, parts)) for parts in scope.lists]

    def _scope(self, scope: CacheScope) -> _Scope:
        known = self._scopes.get(scope)
        if known is None:
            group = self._keys.group(repr(scope).encode("utf-8"))
            known = self._scopes[scope] = _Scope(group, self._keys.name(group, b"lists"))
            if len(self._scopes) > MAX_SCOPES:
                self._scopes.popitem(last=False)
        else:
            self._scopes.move_to_end(scope)
        return known
