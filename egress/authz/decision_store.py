"""Decisions that are kept for as long as their authorizer says, and found again as it says.

It works as C{Vary} does in HTTP (RFC 9111 section 4.1): for each stage and origin it is known which lists of parts the
authorizer named, and a question is looked up by each of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import attrs

from egress.authz.cache_key import Parts, Place, key_of, known_parts, place_of
from egress.model.decision import Decision, DecisionRequest, Verdict

# Lists of parts for one stage and origin.  More of them make each look-up slower, and no service has use for many.
MAX_LISTS: Final = 8

_REUSABLE: Final = frozenset({Verdict.ALLOW, Verdict.DENY})


@attrs.frozen
class _CachedDecision:
    """One decision.

    @ivar number: a later one counts over an earlier one.
    @ivar again: the decision as it is given while it is fresh.
    @ivar stale: the same while there are no answers.
    """

    number: int
    since: float
    fresh_until: float
    stale_until: float
    again: Decision
    stale: Decision


class DecisionStore:
    """So many decisions, the least recently used of which make room for new ones.

    @param most: how many there are.
    @param max_ttl: seconds for which one is reused at most.
    @param max_stale: seconds beyond that, while there are no answers.
    """

    def __init__(self, most: int, max_ttl: float, max_stale: float) -> None:
        self._most = most
        self._max_ttl = max_ttl
        self._max_stale = max_stale
        self._number = 0
        self._kept: OrderedDict[bytes, _CachedDecision] = OrderedDict()
        # Each list with the number of the first decision that was kept by it.  One that was forgotten begins anew: what
        # was kept by it before may have been taken back meanwhile.
        self._lists: OrderedDict[Place, dict[Parts, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def knows(self, place: Place) -> bool:
        """Tell whether anything may be kept about a stage and an origin."""
        return place in self._lists

    @staticmethod
    def reusable(decision: Decision) -> bool:
        """Tell whether the authorizer wants a decision to be reused without asking again.

        One that only asks for something, the content or a person, is none yet.
        """
        return (
            decision.verdict in _REUSABLE
            and decision.ttl is not None
            and decision.ttl > 0
            and known_parts(decision.cache_key) is not None
        )

    def fresh(self, request: DecisionRequest, now: float) -> Decision | None:
        """Find the latest decision on such a question that may be reused."""
        found: tuple[bytes, _CachedDecision] | None = None
        for key, kept in self._matching(request):
            if kept.since <= now < kept.fresh_until and (found is None or found[1].number < kept.number):
                found = key, kept
            elif now >= kept.stale_until:
                del self._kept[key]
        if found is None:
            return None
        self._kept.move_to_end(found[0])
        return found[1].again

    def stale(self, request: DecisionRequest, now: float) -> Decision | None:
        """Find the latest decision on such a question that may be reused while there are no answers."""
        usable = [kept for _, kept in self._matching(request) if kept.since <= now < kept.stale_until]
        return max(usable, key=lambda kept: kept.number).stale if usable else None

    def keep(self, request: DecisionRequest, decision: Decision, now: float) -> None:
        """Take the answer to a question: it counts in place of all earlier ones, whether or not it may be reused."""
        place = place_of(request)
        if place in self._lists:
            for key, _ in list(self._matching(request)):
                del self._kept[key]
        ttl = min(decision.ttl or 0.0, self._max_ttl)
        stale = min(decision.stale_if_error or 0.0, self._max_stale)
        expires_in = decision.obligations.expires_in
        if expires_in is not None:
            # What is asked again after that time is to be answered anew, also where there are no answers.
            ttl = min(ttl, expires_in)
            stale = min(stale, expires_in - ttl)
        if ttl + stale <= 0 or decision.verdict not in _REUSABLE:
            return
        parts = known_parts(decision.cache_key)
        if parts is None:
            return
        self._number += 1
        self._remember(place, parts)
        key = key_of(request, parts)
        self._kept[key] = _CachedDecision(
            number=self._number,
            since=now,
            fresh_until=now + ttl,
            stale_until=now + ttl + stale,
            again=attrs.evolve(decision, source="cache"),
            stale=attrs.evolve(decision, source="stale"),
        )
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def _remember(self, place: Place, parts: Parts) -> None:
        lists = self._lists.setdefault(place, {})
        # The latest is the last one.
        lists[parts] = lists.pop(parts, self._number)
        if len(lists) > MAX_LISTS:
            # What was kept by it is not found any more, and makes room in its turn.
            del lists[next(iter(lists))]
        self._lists.move_to_end(place)
        if len(self._lists) > self._most:
            self._lists.popitem(last=False)

    def _matching(self, request: DecisionRequest) -> Iterator[tuple[bytes, _CachedDecision]]:
        for parts, begun in self._lists.get(place_of(request), {}).items():
            key = key_of(request, parts)
            kept = self._kept.get(key)
            if kept is not None and kept.number >= begun:
                yield key, kept

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._lists.clear()
