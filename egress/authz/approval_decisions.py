"""The decisions that follow from approvals: the answer of an approver, a grant, and the lack of an approver."""

from __future__ import annotations

from datetime import datetime, timezone

import attrs

from egress.model.approval import ApprovalAnswer, Grant
from egress.model.decision import NO_OBLIGATIONS, Decision, Verdict


def denied(decision: Decision, why: str) -> Decision:
    """Deny a request without an answer of an approver.  The rule and the authorizer of the decision stay."""
    reason = f"{why} ({decision.reason})" if decision.reason else why
    return attrs.evolve(
        decision,
        verdict=Verdict.DENY,
        reason=reason,
        ttl=None,
        stale_if_error=None,
        cache_key=None,
        obligations=NO_OBLIGATIONS,
    )


def denied_by_approver(decision: Decision, answer: ApprovalAnswer) -> Decision:
    """Deny a request that an approver denied.  The denial is enforced in observe mode, too."""
    why = f"denied by {answer.who}" + (f": {answer.reason}" if answer.reason else "")
    return attrs.evolve(denied(decision, ""), reason=why, decided_by=_by(decision, answer.by), enforce_in_observe=True)


def allowed_once(decision: Decision, answer: ApprovalAnswer) -> Decision:
    """Allow a request that an approver allowed once, with the obligations of the original decision."""
    reason = f"allowed once by {answer.who}" + (f": {answer.reason}" if answer.reason else "")
    return _allowed(decision, reason, answer.by)


def allowed_by_grant(decision: Decision, grant: Grant) -> Decision:
    """Allow a request that a grant covers."""
    until = datetime.fromtimestamp(grant.until, timezone.utc)
    why = f": {grant.reason}" if grant.reason else ""
    reason = f"allowed by {grant.by or 'an approver'} until {until:%Y-%m-%d %H:%M:%S} UTC{why}"
    return attrs.evolve(_allowed(decision, reason, grant.by), source="approval")


def _allowed(decision: Decision, reason: str, by: str) -> Decision:
    # An approval covers only this request, whatever the original decision says about caching.
    return attrs.evolve(
        decision,
        verdict=Verdict.ALLOW,
        reason=reason,
        decided_by=_by(decision, by),
        ttl=None,
        stale_if_error=None,
        cache_key=None,
    )


def _by(decision: Decision, name: str) -> str:
    return f"an approver ({name}) for {decision.decided_by}" if name else f"an approver for {decision.decided_by}"
