"""The policy that recorded traffic suggests, compared with the policy that decides."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from egress.console.diff_view import DiffView
from egress.console.difference_view import DifferenceView
from egress.model.counted import counted
from egress.policy.learn.audit_reader import AuditLine
from egress.policy.learn.insertion import diff_of
from egress.policy.learn.policy_difference import compare_policies
from egress.policy.learn.suggest import MAX_RULES, Suggestion
from egress.policy.learn.writer import write_policy
from egress.policy.parse.load import parse_policy
from egress.policy.rules import RuleSet


@attrs.frozen(kw_only=True)
class SuggestionView:
    """A suggested policy.

    @ivar text: its text; empty if there is nothing to suggest.
    @ivar requests: the number of requests that it covers, in words.
    @ivar hosts: the number of their hosts, in words.
    @ivar records: the number of records that were read.
    @ivar diff: the difference to the text of the policy that decides.
    @ivar difference: the recorded requests for which it decides differently.
    """

    text: str
    requests: str
    hosts: str
    records: int
    diff: DiffView
    difference: DifferenceView | None

    @classmethod
    def of(cls, lines: Sequence[AuditLine], rules: RuleSet | None) -> SuggestionView:
        """Suggest a policy.

        @param lines: the records.
        @param rules: the policy that decides, if there is one.
        """
        suggestion = Suggestion()
        for line in lines:
            if line.left:
                suggestion.add(line)
        text = write_policy(suggestion, MAX_RULES) if suggestion.requests else ""
        difference, diff = None, DiffView()
        if text and rules is not None:
            suggested = parse_policy(text, "suggestion.toml", "suggestion")
            difference = DifferenceView.of(compare_policies(rules, suggested, lines))
            diff = DiffView.of(diff_of(rules.texts[0].text, text, rules.texts[0].where))
        return cls(
            text=text,
            requests=counted(suggestion.requests, "request"),
            hosts=counted(len(suggestion.hosts), "host"),
            records=len(lines),
            diff=diff,
            difference=difference,
        )
