"""What becomes of the tests inside a policy."""

from __future__ import annotations

import attrs

from egress.model.decision import Decision
from egress.policy.case import Case
from egress.policy.rules import RuleSet
from egress.policy.trace import RuleTrace

_MAX_NEAR = 3


@attrs.frozen
class CaseResult:
    """What became of one test.

    @ivar why: for a test that failed, lines that say which conditions of which rules did not hold.
    """

    case: Case
    decision: Decision
    why: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether verdict and rule are as expected."""
        case, decision = self.case, self.decision
        return decision.verdict is case.expect and case.rule in (None, decision.rule_id)


def run_case(rules: RuleSet, case: Case) -> CaseResult:
    """Put the request of a test to the rules."""
    outcome = CaseResult(case, rules.decide(case.request, case.now))
    if outcome.passed:
        return outcome
    return attrs.evolve(outcome, why=_why(rules, case, rules.trace(case.request, case.now)))


def _why(rules: RuleSet, case: Case, trace: tuple[RuleTrace, ...]) -> tuple[str, ...]:
    *tried, last = trace
    lines = []
    if case.rule is not None and last.rule_id != case.rule:
        expected = next((one for one in tried if one.rule_id == case.rule), None)
        if expected is not None:
            lines.append(_missed(expected))
        elif case.rule != "default":
            lines.append(f"{case.rule} comes after {last.rule_id}, and was not tried")
    elif case.rule is None:
        near = [one for one in tried if one.verdict is case.expect and one.failed not in ("hosts", "ports")]
        lines += [_missed(one) for one in near[:_MAX_NEAR]]
    if last.where:
        lines.append(f"{last.rule_id} decided, at {last.where}")
    return tuple(lines)


def _missed(rule: RuleTrace) -> str:
    doubt = "" if rule.doubt is None else f": {rule.doubt}"
    return f"{rule.rule_id} did not match, by its {rule.failed!r}, at {rule.where}{doubt}"
