"""The runner of the test cases in a policy."""

from __future__ import annotations

import attrs

from egress.model.decision import Decision
from egress.policy.case import Case
from egress.policy.rules import RuleSet
from egress.policy.trace import RuleTrace

_MAX_CANDIDATES = 3


@attrs.frozen
class CaseResult:
    """The result of one test case.

    @ivar case: the test case.
    @ivar decision: the decision of the rules.
    @ivar why: for a failed test case, lines that name the conditions and rules that did not match.
    """

    case: Case
    decision: Decision
    why: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the verdict and the rule are as expected."""
        case, decision = self.case, self.decision
        return decision.verdict is case.expect and case.rule in (None, decision.rule_id)


def run_case(rules: RuleSet, case: Case) -> CaseResult:
    """Evaluate the request of a test case against the rules."""
    outcome = CaseResult(case, rules.decide(case.request, case.now))
    if outcome.passed:
        return outcome
    return attrs.evolve(outcome, why=_why(rules, case, rules.trace(case.request, case.now)))


def _why(rules: RuleSet, case: Case, trace: tuple[RuleTrace, ...]) -> tuple[str, ...]:
    *evaluated, last = trace
    lines = []
    if case.rule is not None and last.rule_id != case.rule:
        expected = next((one for one in evaluated if one.rule_id == case.rule), None)
        if expected is not None:
            lines.append(_describe_mismatch(expected))
        elif case.rule != "default":
            lines.append(f"{case.rule} comes after {last.rule_id}, and was not evaluated")
    elif case.rule is None:
        candidates = [one for one in evaluated if one.verdict is case.expect and one.failed != "hosts"]
        lines += [_describe_mismatch(one) for one in candidates[:_MAX_CANDIDATES]]
    if last.where:
        lines.append(f"{last.rule_id} decided, at {last.where}")
    return tuple(lines)


def _describe_mismatch(rule: RuleTrace) -> str:
    doubt = "" if rule.doubt is None else f": {rule.doubt}"
    return f"{rule.rule_id} did not match because of {rule.failed!r}, at {rule.where}{doubt}"
