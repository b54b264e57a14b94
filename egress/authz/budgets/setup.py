"""The counting of budgets, as a configuration describes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred

from egress.authz.budgets.ledger import BudgetLedger
from egress.authz.budgets.shares import Shares
from egress.authz.chain_dependencies import ChainDependencies
from egress.config.model import Mode
from egress.model.decision import DecisionRequest
from egress.shared.state import SharedState

if TYPE_CHECKING:
    from egress.policy.rules import RuleSet

_NAMESPACE = "budgets"


@attrs.frozen
class BudgetCounting:
    """The counting of budgets in one process.

    @ivar ledger: counts.
    @ivar shares: tells whether the engine counts.
    @ivar is_used: returns whether there are budgets: in the policy, or in decisions so far.
    """

    ledger: BudgetLedger
    shares: Shares
    is_used: Callable[[], bool]

    def start(self) -> None:
        """Count together with other replicas from now on, if there is shared state."""
        self.shares.start()

    def stop(self) -> None:
        """Count in this process only."""
        self.shares.stop()

    def check(self) -> Deferred[str | None]:
        """Return a note for the readiness check, while budgets are not counted in the shared state."""
        return self.shares.check()


def by_name(request: DecisionRequest) -> str:
    """Return the client of a request, whose name is verified if it has one."""
    client = request.client
    return f"address {client.limit_key}" if client.identity is None else f"name {client.identity}"


def by_address(request: DecisionRequest) -> str:
    """Return the client of a request, which can choose its own name."""
    return f"address {request.client.limit_key}"


def budget_counting(
    dependencies: ChainDependencies, shared: SharedState | None, rules: Callable[[], RuleSet | None]
) -> BudgetCounting:
    """Return the counting that a configuration describes.

    @param shared: the shared state, if there is one.
    @param rules: returns the rules of the embedded policy, if it decides.
    """
    config, clock = dependencies.config, dependencies.reactor

    def is_used() -> bool:
        current = rules()
        return ledger.is_used or (current is not None and current.has_budgets)

    shares = Shares(
        clock,
        None if shared is None else shared.client,
        None if shared is None else shared.keys(_NAMESPACE),
        processes=dependencies.processes,
        is_used=is_used,
    )
    if shared is not None:
        shared.events.connected.append(shares.connected)
    verified = all(config.requires_auth_at(listener) for listener in config.listen)
    ledger = BudgetLedger(clock, shares, by_name if verified else by_address, observes=config.mode is Mode.OBSERVE)
    return BudgetCounting(ledger, shares, is_used)
