"""The difference that a change of a policy makes for recorded requests."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.replay import Change, Recorded, Replayed, Report, replay
from egress.policy.rules import RuleSet


@attrs.frozen
class Decided:
    """Recorded requests for which the new policy decides differently.

    @ivar recorded: one of the equal requests.
    @ivar count: their number.
    @ivar before: the decision of the old policy.
    @ivar after: the decision of the new policy.
    """

    recorded: Recorded
    count: int
    before: Replayed
    after: Replayed


@attrs.frozen
class PolicyDifference:
    """The recorded requests for which two policies decide differently.

    @ivar requests: the number of requests that were compared.
    @ivar different: the requests whose verdict differs, the most frequent first.
    @ivar unknown: the number of requests that one of the policies cannot decide from the record.
    """

    requests: int
    different: tuple[Decided, ...]
    unknown: int

    @property
    def changed(self) -> int:
        """The number of requests whose verdict differs."""
        return sum(one.count for one in self.different)


def compare_policies(old: RuleSet, new: RuleSet, lines: Iterable[AuditLine]) -> PolicyDifference:
    """Evaluate recorded requests against two policies, and return the requests whose verdicts differ.

    Each request is evaluated once, at the first of its recorded times.
    """
    recorded = list(lines)
    before, after = _by_request(replay(old, recorded)), _by_request(replay(new, recorded))
    counts: dict[Recorded, int] = {}
    for line in recorded:
        one = Recorded.of(line)
        if one in before:
            counts[one] = counts.get(one, 0) + 1
    unknown = 0
    different = []
    for one, count in counts.items():
        first, second = before[one], after[one]
        if Change.UNDECIDED in (first.change, second.change):
            unknown += count
        elif first.verdict != second.verdict:
            different.append(Decided(one, count, first, second))
    different.sort(key=lambda each: (-each.count, each.recorded.url, each.recorded.method))
    return PolicyDifference(sum(counts.values()), tuple(different), unknown)


def _by_request(report: Report) -> dict[Recorded, Replayed]:
    found: dict[Recorded, Replayed] = {}
    for result in report.results:
        found.setdefault(result.recorded, result)
    return found
