"""The runner of the test cases in a policy."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from egress.model.decision import Decision, DecisionRequest, Stage
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
    """Evaluate the request of a test case against the rules, and then its message, if it has one."""
    decision = rules.decide(case.request, case.now)
    if case.message is not None and decision.allowed:
        return _run_message(rules, case, decision)
    outcome = CaseResult(case, decision)
    if outcome.passed:
        return outcome
    return attrs.evolve(outcome, why=_why(rules, case, rules.trace(case.request, case.now)))


def _run_message(rules: RuleSet, case: Case, decision: Decision) -> CaseResult:
    assert case.message is not None
    message, content = case.message
    if decision.obligations.messages is None:
        outcome = CaseResult(case, decision)
        why = f"{decision.rule_id} has no [rules.messages], so the message passes"
        return outcome if outcome.passed else attrs.evolve(outcome, why=(why,))
    if message.direction not in decision.obligations.messages.directions:
        outcome = CaseResult(case, decision)
        why = f"{decision.rule_id} does not authorize messages of the {message.direction.value}, so the message passes"
        return outcome if outcome.passed else attrs.evolve(outcome, why=(why,))
    message = attrs.evolve(message, rule_id=decision.rule_id)
    request = attrs.evolve(
        case.request, stage=Stage.MESSAGE, body=content, content_length=len(content), message=message
    )
    outcome = CaseResult(case, rules.decide(request, case.now))
    if outcome.passed:
        return outcome
    return attrs.evolve(outcome, why=tuple(_describe_message(rules, request)))


def _describe_message(rules: RuleSet, request: DecisionRequest) -> Iterator[str]:
    for one in rules.trace_message(request):
        did = "decided" if one.failed is None else f"did not match because of {one.failed!r}"
        yield f"{one.rule_id} {did}, at {one.where}"


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
