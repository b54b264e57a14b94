"""How a decision with budgets is counted, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, fail, succeed

from egress.interfaces import IBudgets, ICharge
from egress.model.budget import Budget
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.errors import BudgetExhausted, BudgetUnavailable

if TYPE_CHECKING:
    from egress.proxy.context import AuthzContext


def budgets_of(context: AuthzContext) -> IBudgets:
    """Return the part that counts budgets.

    @raise BudgetUnavailable: if there is none, as without the authorizer chain of a proxy.
    """
    budgets = context.budgets
    if budgets is None:
        raise BudgetUnavailable("the decision has budgets, which nothing counts")
    return budgets


def count(
    context: AuthzContext, request: DecisionRequest, decision: Decision, before: tuple[Budget, ...]
) -> Deferred[ICharge]:
    """Count a request against the budgets of its decision, once: it may be authorized again.

    @param before: the budgets against which it was counted before.
    """
    budgets = decision.obligations.budgets
    try:
        counting = budgets_of(context)
        return succeed(counting.follow(request, budgets)) if budgets == before else counting.take(request, budgets)
    except BudgetUnavailable as error:
        return fail(error)


def refused(decision: Decision, error: BaseException | None) -> Decision | None:
    """Return the decision on a request that was not counted; C{None}: there is none."""
    if isinstance(error, BudgetExhausted):
        return attrs.evolve(decision, verdict=Verdict.DENY, reason=error.reason)
    return None if isinstance(error, BudgetUnavailable) else decision


def observed(decision: Decision, charge: ICharge) -> Decision:
    """Return the decision on a request that was counted; in observe mode, an exhausted budget is only recorded."""
    if charge.observed is None or decision.observed is not None:
        return decision
    return attrs.evolve(decision, observed=Verdict.DENY.value, reason=charge.observed.reason)
