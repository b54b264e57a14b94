"""The recorded requests for which a changed policy decides differently, as pages show them."""

from __future__ import annotations

from typing import Final

import attrs

from egress.policy.learn.policy_difference import PolicyDifference
from egress.policy.learn.replay import Replayed

_SHOWN: Final = 50
_KINDS: Final = {"allow": "good", "deny": "bad", "ask": "info"}


@attrs.frozen(kw_only=True)
class DifferenceRow:
    """Equal requests whose verdict differs.

    @ivar count: their number.
    @ivar method: the method.
    @ivar url: the redacted URL.
    @ivar client: the client.
    @ivar before: the verdict of the policy that decides.
    @ivar before_kind: the kind of its chip.
    @ivar before_rule: its rule.
    @ivar after: the verdict of the changed policy.
    @ivar after_kind: the kind of its chip.
    @ivar after_rule: its rule.
    """

    count: int
    method: str
    url: str
    client: str
    before: str
    before_kind: str
    before_rule: str
    after: str
    after_kind: str
    after_rule: str


@attrs.frozen(kw_only=True)
class DifferenceView:
    """A difference.

    @ivar requests: the number of requests that were compared.
    @ivar changed: the number of requests whose verdict differs.
    @ivar unknown: the number of requests that cannot be decided from their records.
    @ivar rows: the requests whose verdict differs.
    @ivar more: the number of rows that are not shown.
    """

    requests: int
    changed: int
    unknown: int
    rows: tuple[DifferenceRow, ...]
    more: int

    @classmethod
    def of(cls, difference: PolicyDifference) -> DifferenceView:
        """Make the view."""
        rows = tuple(_row(one.count, one.before, one.after) for one in difference.different[:_SHOWN])
        return cls(
            requests=difference.requests,
            changed=difference.changed,
            unknown=difference.unknown,
            rows=rows,
            more=len(difference.different) - len(rows),
        )


def _row(count: int, before: Replayed, after: Replayed) -> DifferenceRow:
    recorded = before.recorded
    return DifferenceRow(
        count=count,
        method=recorded.method,
        url=recorded.url,
        client=recorded.identity or recorded.client,
        before=before.verdict,
        before_kind=_KINDS.get(before.verdict, "none"),
        before_rule=before.rule_id or "",
        after=after.verdict,
        after_kind=_KINDS.get(after.verdict, "none"),
        after_rule=after.rule_id or "",
    )
