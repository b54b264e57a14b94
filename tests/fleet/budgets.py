"""What the replicas permit together, compared with the budgets of rules.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.fleet.joined import RECONNECTED_WITHIN, SLACK, Joined, Verdict
from tests.fleet.observations import BYTES, CLOSED, COMPLETE, CUT, PROBLEM, REDIS, Charged, Fault, Limit

# The permitted error in the time of a budget, relative to its amount.
ERROR = 0.02

# After this multiple of its period, the load must have exhausted a budget.
EXHAUSTED_AFTER = 3

_EXHAUSTED = "429 budget-exhausted"
_UNAVAILABLE = "503 budget-unavailable"
_CUT_EXHAUSTED = "budget-exhausted"
_CUT_UNAVAILABLE = "budget-unavailable"


@dataclass(frozen=True)
class Use:
    """A use of a budget.

    @ivar replica: the replica that permitted it.
    """

    at: float
    number: int
    replica: str | None = None


def uses(joined: Joined, limit: Limit) -> list[Use]:
    """Return all uses of a budget, in their order: what reached the origin, and what clients received from it."""
    charged = {one.id: one for one in joined.run.charged}
    found = []
    seen_ids = set()
    for seen in joined.run.charged_seen:
        one = charged.get(seen.id)
        # An idempotent request can be sent again on another connection to the origin.
        if one is None or not one.path.startswith(limit.path) or seen.id in seen_ids:
            continue
        seen_ids.add(seen.id)
        replica = joined.replica_of.get(one.address)
        found.append(Use(seen.at, one.content if limit.path == BYTES else 1, replica))
        if limit.path == BYTES:
            found.append(Use(one.ended, one.received, replica))
    return sorted(found, key=lambda use: use.at)


def excesses(limit: Limit, found: Sequence[Use]) -> list[tuple[float, float]]:
    """Return how much was used that a bucket did not contain, with the times.

    The bucket is full at first.  Each excess is forgiven, so it is not found again later.  What is in flight is
    observed later than it is taken from the bucket.
    """
    least = -(limit.rate * SLACK + limit.in_flight)
    level: float = limit.capacity
    last = found[0].at if found else 0.0
    over = []
    for use in found:
        level = min(limit.capacity, level + limit.rate * (use.at - last)) - use.number
        last = use.at
        if level < least:
            over.append((use.at, least - level))
            level = least
    return over


def _unknown(joined: Joined, found: Sequence[Use]) -> list[tuple[float, float, int]]:
    """Return what killed replicas used while Redis was away, which no other process can know.

    @return: the time of each kill, the time until which it can have effects, and the number.
    """
    lost = []
    for fault in joined.run.faults:
        if fault.target not in joined.run.replicas:
            continue
        away = _away(joined, fault)
        if away is not None:
            number = sum(
                use.number
                for use in found
                if use.replica == fault.target and away.began - SLACK <= use.at <= fault.away + SLACK
            )
            lost.append((fault.began, away.repaired + RECONNECTED_WITHIN, number))
    return lost


def _away(joined: Joined, killed: Fault) -> Fault | None:
    """Return the absence of Redis in which a replica was killed."""
    for fault in joined.faults(REDIS):
        if fault.began <= killed.away + SLACK and killed.began <= fault.repaired + RECONNECTED_WITHIN + SLACK:
            return fault
    return None


def _errors(
    limit: Limit, over: Sequence[tuple[float, float]], lost: Sequence[tuple[float, float, int]]
) -> Iterator[tuple[float, float, float]]:
    """Return for each time of the budget the excess without a reason, the excess, and the end of this time."""
    for index, (ended, _) in enumerate(over):
        began = ended - limit.per
        number = sum(number for at, number in over[: index + 1] if at >= began)
        explained = sum(each for at, until, each in lost if at <= ended and began <= until + limit.per)
        yield number - explained, number, ended


def check_budgets(joined: Joined, verdict: Verdict) -> None:
    """In the time of a budget, at most 2 % of it are permitted too much, and what only killed replicas knew."""
    for limit in joined.run.limits:
        name = f"budget of {limit.path.strip('/')}"
        found = uses(joined, limit)
        over = excesses(limit, found)
        lost = _unknown(joined, found)
        worst, number, when = max([(0.0, 0.0, 0.0), *_errors(limit, over, lost)])
        if worst > ERROR * limit.amount:
            verdict.failures.append(
                f"{name}: {number:.0f} more than permitted in the {limit.per} s before {when:.1f}, {worst:.0f} of them"
                f" without a reason; {limit.amount} are permitted in this time"
            )
        if not found:
            continue
        seconds = found[-1].at - found[0].at
        total = sum(use.number for use in found)
        verdict.count(name, "used", total)
        verdict.count(name, "more than permitted", round(sum(number for _, number in over)))
        verdict.count(name, "used by a replica that was killed while redis was away", sum(each for *_, each in lost))
        verdict.figures[f"{name}: error in the time of the budget, in percent"] = round(100 * worst / limit.amount, 2)
        verdict.figures[f"{name}: used, in percent of what is permitted"] = round(
            100 * total / (limit.capacity + limit.rate * seconds), 1
        )
        refused = sum(one.detail == _EXHAUSTED for one in joined.run.charged if one.path.startswith(limit.path))
        if not refused and seconds > EXHAUSTED_AFTER * limit.per:
            verdict.failures.append(f"{name}: the load does not exhaust it")


def check_charged(joined: Joined, verdict: Verdict) -> None:
    """Only a budget refuses a request, or the loss of Redis, or its replica was killed."""
    seen = {one.id for one in joined.run.charged_seen}
    outcomes = {each.id: each.outcome for each in joined.run.charged_records}
    for one in joined.run.charged:
        verdict.count("requests with a budget", f"{one.outcome} {one.detail}".strip())
        if one.outcome == COMPLETE:
            if one.id not in seen:
                verdict.failures.append(f"{one.id}: its client got a response of an origin that did not receive it")
        elif not _is_explained(joined, one, outcomes.get(one.id)):
            replica = joined.replica_of.get(one.address)
            verdict.failures.append(
                f"{one.id}: nothing explains the end of a request with a budget on {replica}: {one}"
            )
    for id_ in seen - {one.id for one in joined.run.charged}:
        verdict.failures.append(f"{id_}: the origin received a request with a budget that no client sent")


def _is_explained(joined: Joined, one: Charged, recorded: str | None) -> bool:
    """Return whether a request had to fail.

    @param recorded: the outcome in its record.
    """
    is_away = joined.was_away(REDIS, one.sent, one.ended, RECONNECTED_WITHIN)
    if one.outcome == PROBLEM:
        return one.detail == _EXHAUSTED or (one.detail == _UNAVAILABLE and is_away)
    if one.outcome not in (CUT, CLOSED):
        return False
    # Other transfers can use the rest of a budget while it runs: the proxy ends it before the piece that does not fit.
    is_cut = one.outcome == CUT and one.path.startswith(BYTES)
    if is_cut and (recorded == _CUT_EXHAUSTED or (recorded == _CUT_UNAVAILABLE and is_away)):
        return True
    return joined.was_killed(one.address, one.sent, one.ended)
