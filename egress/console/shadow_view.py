"""The recorded requests on which the shadow policy decides differently, as the Policy page shows them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from egress.console.difference_view import DifferenceView
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.policy_difference import compare_policies
from egress.policy.rules import RuleSet


@attrs.frozen(kw_only=True)
class ShadowView:
    """A shadow policy, compared with the policy that decides.

    @ivar name: its name.
    @ivar version: its version.
    @ivar current: the version of the policy that decides.
    @ivar records: the number of records that were read.
    @ivar difference: the recorded requests on which they decide differently.
    """

    name: str
    version: str
    current: str
    records: int
    difference: DifferenceView

    @classmethod
    def of(cls, rules: RuleSet, shadow: RuleSet, lines: Sequence[AuditLine]) -> ShadowView:
        """Compare two policies.

        @param rules: the policy that decides.
        @param shadow: the shadow policy.
        @param lines: the records.
        """
        return cls(
            name=shadow.name,
            version=shadow.policy_version or "",
            current=rules.policy_version or "",
            records=len(lines),
            difference=DifferenceView.of(compare_policies(rules, shadow, lines)),
        )
