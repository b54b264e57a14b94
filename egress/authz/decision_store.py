"""The store of cached decisions, each for as long as its authorizer permits.

It works like C{Vary} in HTTP (RFC 9111 section 4.1).  For each stage and origin, the store knows the lists of parts
that the authorizer named, and looks up a request by each of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import attr

from egress.authz.cache_key import CacheScope, Parts, key_of, known_parts, scope_of
from egress.model.authority import Authority
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.revocation import Revocation, RevocationKind

# Lists of parts for one stage and origin.  Each of them makes a lookup slower, and no service needs many.
MAX_LISTS: Final = 8

_REUSABLE: Final = frozenset({Verdict.ALLOW, Verdict.DENY})


@attr.s(auto_attribs=True, init=False, order=False, unsafe_hash=True)
class _CachedDecision:
    """One cached decision.

    @ivar scope: the stage and the origin of the request.
    @ivar number: increases with each decision; a later decision overrides an earlier one.
    @ivar fresh: the decision to return while it is fresh.
    @ivar stale: the decision to return while the authorizer does not respond.
    """

    scope: Final[CacheScope]
    number: Final[int]
    since: Final[float]
    fresh_until: Final[float]
    stale_until: Final[float]
    fresh: Final[Decision]
    stale: Final[Decision]

    def __init__(
        self,
        *,
        scope: CacheScope,
        number: int,
        since: float,
        fresh_until: float,
        stale_until: float,
        fresh: Decision,
        stale: Decision,
    ) -> None:
        self.scope = scope
        self.number = number
        self.since = since
        self.fresh_until = fresh_until
        self.stale_until = stale_until
        self.fresh = fresh
        self.stale = stale


def lifetime(decision: Decision, max_ttl: float, max_stale: float) -> tuple[float, float]:
    """Return the seconds for which a decision can be reused, and the seconds beyond them while the authorizer fails.

    @param max_ttl: the maximum time to live, in seconds.
    @param max_stale: the maximum number of seconds beyond the time to live.
    @return: zero, if it cannot be reused.
    """
    if decision.verdict not in _REUSABLE:
        return 0.0, 0.0
    ttl = min(decision.ttl or 0.0, max_ttl)
    stale = min(decision.stale_if_error or 0.0, max_stale)
    expires_in = decision.obligations.expires_in
    if expires_in is not None:
        # After expires_in the proxy authorizes the exchange again, so no cached decision may outlive it, even while
        # the authorizer does not respond.
        ttl = min(ttl, expires_in)
        stale = min(stale, expires_in - ttl)
    return ttl, stale


class DecisionStore:
    """A bounded number of decisions.  A new decision replaces the least recently used one.

    @param max_decisions: the maximum number of decisions.
    @param max_ttl: the maximum time to live, in seconds.
    @param max_stale: the maximum number of seconds beyond the time to live, while the authorizer does not respond.
    """

    def __init__(self, max_decisions: int, max_ttl: float, max_stale: float) -> None:
        self._max_decisions = max_decisions
        self._max_ttl = max_ttl
        self._max_stale = max_stale
        self._number = 0
        self._decisions: OrderedDict[bytes, _CachedDecision] = OrderedDict()
        # Each list with the number of the first decision that was stored under it.  A list that was dropped starts
        # again: decisions that were stored under it before may have been revoked meanwhile.
        self._lists: OrderedDict[CacheScope, dict[Parts, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._decisions)

    def may_contain(self, scope: CacheScope) -> bool:
        """Return whether any decision may be stored for a stage and an origin."""
        return scope in self._lists

    @staticmethod
    def reusable(decision: Decision) -> bool:
        """Return whether the authorizer permits reusing a decision.

        A verdict that requests the content, the addresses or an approval is not yet a decision.
        """
        return (
            decision.verdict in _REUSABLE
            and decision.ttl is not None
            and decision.ttl > 0
            and known_parts(decision.cache_key) is not None
        )

    def fresh(self, request: DecisionRequest, now: float) -> Decision | None:
        """Find the latest reusable decision for a request."""
        found: tuple[bytes, _CachedDecision] | None = None
        for key, cached in self._matching(request):
            if cached.since <= now < cached.fresh_until and (found is None or found[1].number < cached.number):
                found = key, cached
            elif now >= cached.stale_until:
                del self._decisions[key]
        if found is None:
            return None
        self._decisions.move_to_end(found[0])
        return found[1].fresh

    def stale(self, request: DecisionRequest, now: float) -> Decision | None:
        """Find the latest decision for a request that is reusable while the authorizer does not respond."""
        usable = [cached for _, cached in self._matching(request) if cached.since <= now < cached.stale_until]
        return max(usable, key=lambda cached: cached.number).stale if usable else None

    def add(self, request: DecisionRequest, decision: Decision, now: float) -> None:
        """Store the decision on a request.  It overrides all earlier ones for it, even if it is not reusable."""
        scope = scope_of(request)
        keys = {parts: key_of(request, parts) for parts in self._lists.get(scope, ())}
        for key in keys.values():
            # A decision under a list that was dropped meanwhile is not found any more.
            self._decisions.pop(key, None)
        ttl, stale = lifetime(decision, self._max_ttl, self._max_stale)
        if ttl + stale <= 0:
            return
        parts = known_parts(decision.cache_key)
        if parts is None:
            return
        self._number += 1
        self._add_list(scope, parts)
        key = keys.get(parts) or key_of(request, parts)
        self._decisions[key] = _CachedDecision(
            scope=scope,
            number=self._number,
            since=now,
            fresh_until=now + ttl,
            stale_until=now + ttl + stale,
            fresh=decision.reused("cache", decision.ttl, decision.stale_if_error),
            stale=decision.reused("stale", decision.ttl, decision.stale_if_error),
        )
        self._decisions.move_to_end(key)
        if len(self._decisions) > self._max_decisions:
            self._decisions.popitem(last=False)

    def _add_list(self, scope: CacheScope, parts: Parts) -> None:
        lists = self._lists.setdefault(scope, {})
        # The latest list comes last.
        lists[parts] = lists.pop(parts, self._number)
        if len(lists) > MAX_LISTS:
            # Decisions that were stored under it are not found any more, and are replaced in time.
            del lists[next(iter(lists))]
        self._lists.move_to_end(scope)
        if len(self._lists) > self._max_decisions:
            self._lists.popitem(last=False)

    def _matching(self, request: DecisionRequest) -> Iterator[tuple[bytes, _CachedDecision]]:
        for parts, first_number in self._lists.get(scope_of(request), {}).items():
            key = key_of(request, parts)
            cached = self._decisions.get(key)
            if cached is not None and cached.number >= first_number:
                yield key, cached

    def revoke(self, revocation: Revocation) -> int:
        """Drop the decisions that a revocation voids.

        For a host or a rule, these are exactly the matching decisions.  A decision can apply to other clients and
        requests than the one for which it was made, so every other revocation drops all of them.

        @return: the number of decisions.
        """
        if revocation.kind is RevocationKind.HOST:
            scopes = {scope for scope in self._lists if revocation.matches_host(Authority(scope[2], scope[3]))}
            keys = [key for key, cached in self._decisions.items() if cached.scope in scopes]
        elif revocation.kind is RevocationKind.RULE:
            keys = [key for key, cached in self._decisions.items() if cached.fresh.rule_id == revocation.value]
        else:
            count = len(self._decisions)
            self.clear()
            return count
        for key in keys:
            del self._decisions[key]
        return len(keys)

    def clear(self) -> None:
        """Drop everything."""
        self._decisions.clear()
        self._lists.clear()
