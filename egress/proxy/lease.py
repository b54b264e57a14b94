"""The limits of an allowed exchange or tunnel: a number of bytes, budgets, and a time to live."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.config.model import KIB
from egress.http.obligations import validate
from egress.interfaces import ICharge
from egress.model.authority import IPAddress
from egress.model.decision import NEEDS, NO_OBLIGATIONS, Decision, DecisionRequest, Obligations, Stage, Verdict
from egress.model.errors import (
    AuthorizerUnavailable,
    EgressError,
    LeaseExpired,
    LeaseRevoked,
    LimitReached,
)
from egress.proxy.budget_count import budgets_of
from egress.relay.budget import Transfer
from egress.runtime.deferred_call import call_for_deferred

if TYPE_CHECKING:
    from egress.proxy.context import AuthzContext

_log = Logger()

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_REQUEST: Final = Stage.REQUEST
_FINAL: Final = frozenset({Verdict.ALLOW, Verdict.DENY})


def validated_decision(decision: object, request: DecisionRequest) -> Decision:
    """Validate the result of an authorizer, which can be third-party code.

    @raise AuthorizerUnavailable: if it is not a complete decision, or cannot be fulfilled.
    """
    if not (
        isinstance(decision, Decision) and isinstance(decision.reason, str) and isinstance(decision.decided_by, str)
    ):
        raise AuthorizerUnavailable("the authorizer returned an invalid decision")
    if decision.verdict not in _FINAL:
        if decision.verdict not in NEEDS:
            raise AuthorizerUnavailable("the authorizer returned an invalid decision")
        if decision.verdict is Verdict.NEED_BODY and not request.body_withheld:
            raise AuthorizerUnavailable("the authorizer needs content that was not withheld")
        if decision.verdict is Verdict.NEED_ADDRESSES and not request.addresses_withheld:
            raise AuthorizerUnavailable("the authorizer needs addresses that were not withheld")
    obligations: Obligations = decision.obligations
    if obligations is not NO_OBLIGATIONS and decision.allowed:
        fault = validate(obligations)
        if fault is None and request.stage is not _REQUEST:
            fault = _misplaced(obligations, request.stage)
        if fault is not None:
            raise AuthorizerUnavailable(f"the authorizer's decision is invalid: {fault}")
    return decision


def _misplaced(obligations: Obligations, stage: Stage) -> str | None:
    """Return the error for an obligation that cannot be fulfilled in a stage."""
    changed = obligations.set_headers or obligations.remove_headers
    if stage is Stage.TUNNEL:
        if obligations.messages is not None:
            return "the messages in a tunnel cannot be authorized"
        return "header fields cannot be set or removed in a tunnel" if changed else None
    if changed or obligations.budgets or obligations.max_bytes is not None or obligations.expires_in is not None:
        return "a message cannot have obligations"
    return None


# Content up to this number of bytes is charged when it begins.
_PREPAID: Final = 256 * KIB


class Lease:
    """Enforces the limits in the obligations of a decision. It exists only if the obligations have limits.

    When the time to live ends, the lease sends another authorization request; traffic continues meanwhile. If the
    request is allowed again, the new obligations apply. Otherwise the exchange is aborted.

    @param request: the request that was allowed.
    @param failed: is called at the end, at most once, and not after L{stop}.
    @param charge: counts the bytes against budgets, if there are any.
    @ivar transfer: the transfer, which waits while its bytes must be counted with the bytes of other replicas.
    @ivar used: content bytes transferred in both directions, under all decisions together.
    @ivar observed: the first later decision that would have ended the exchange, had observe mode not let it pass.
    @ivar known_addresses: the addresses of the origin, once they are known.
    @ivar renewed: the latest decision that renewed the lease.
    """

    __slots__ = (
        "_charge",
        "_context",
        "_failed",
        "_held",
        "_max_bytes",
        "_over",
        "_pending",
        "_prepaid",
        "_request",
        "_revocations",
        "_timer",
        "known_addresses",
        "observed",
        "renewed",
        "transfer",
        "used",
    )

    def __init__(
        self,
        context: AuthzContext,
        request: DecisionRequest,
        obligations: Obligations,
        failed: Callable[[EgressError], None],
        charge: ICharge | None = None,
    ) -> None:
        self.used = 0
        self.transfer: Transfer | None = None
        self._charge = charge
        self._held = False
        # The bytes that were charged before they are transferred.
        self._prepaid = 0
        self.observed: Decision | None = None
        self.known_addresses: tuple[IPAddress, ...] | None = None
        self.renewed: Decision | None = None
        # The number of revocations when the renewal was requested.
        self._revocations = 0
        self._context = context
        self._request = request
        self._failed = failed
        self._over = False
        self._pending: Deferred[Any] | None = None
        self._timer: IDelayedCall | None = None
        self._apply(obligations)

    def _apply(self, obligations: Obligations) -> None:
        self._max_bytes = obligations.max_bytes
        if obligations.expires_in is not None:
            self._timer = self._context.clock.callLater(obligations.expires_in, self._expired)

    # -- bytes

    def next_read(self, most: int) -> int:
        """See L{egress.relay.budget.ByteBudget.next_read}."""
        charge = self._charge
        if charge is not None:
            if self._must_wait(charge):
                return 0
            most = min(most, charge.room, charge.left + 1)
        return most if self._max_bytes is None else min(most, max(0, self._max_bytes - self.used) + 1)

    def announce(self, count: int) -> bool:
        """Prepare for content of a known length.

        Small content is charged before it begins, so that it is refused or complete.

        @return: whether it may be transferred. If not, the lease ends.
        """
        if not self._has_budget(count, count):
            return False
        charge = self._charge
        if charge is not None and 0 < count <= _PREPAID:
            charge.spend(count)
            self._prepaid += count
        return True

    def _has_budget(self, count: int, unpaid: int) -> bool:
        """Whether that many more bytes may be transferred. If not, the lease ends.

        @param unpaid: how many of them are not charged yet.
        """
        if self._over:
            return False
        max_bytes = self._max_bytes
        if max_bytes is not None and self.used + count > max_bytes:
            self._fail(LimitReached(f"more content than the {max_bytes} bytes that the decision allows"))
            return False
        charge = self._charge
        refusal = None if charge is None or (count and not unpaid) else charge.refusal(unpaid)
        if refusal is not None:
            self._fail(refusal)
            return False
        return True

    def consume(self, count: int) -> bool:
        """Count bytes that are about to be transferred.

        @return: whether they may be transferred. If not, the lease ends.
        """
        prepaid = min(count, self._prepaid)
        unpaid = count - prepaid
        if not self._has_budget(count, unpaid):
            return False
        self.used += count
        self._prepaid -= prepaid
        charge = self._charge
        if charge is not None and unpaid:
            charge.spend(unpaid)
            self._must_wait(charge)
        return True

    def _refund(self, charge: ICharge) -> None:
        """Return the charged bytes that were not transferred."""
        prepaid, self._prepaid = self._prepaid, 0
        if prepaid:
            charge.refund(prepaid)

    def _must_wait(self, charge: ICharge) -> bool:
        """Hold the transfer until its bytes are counted, if they must be."""
        transfer = self.transfer
        if transfer is None or not charge.wait(self._release):
            return False
        self._held = True
        transfer.hold()
        return True

    def _release(self) -> None:
        transfer = self.transfer
        if self._held and transfer is not None:
            self._held = False
            transfer.release()

    # -- time

    def _expired(self) -> None:
        self._timer = self._context.clock.callLater(self._context.renewal_timeout, self._renewal_timed_out)
        self._renew()

    def _renew(self) -> None:
        self._revocations = self._context.revocations.count
        self._pending = pending = call_for_deferred(self._context.authorizer.decide, self._request)
        pending.addCallbacks(self._renewed, self._renewal_failed).addErrback(self._log_failure)

    def _renewed(self, result: object) -> None:
        if self._over:
            return
        try:
            decision = validated_decision(result, self._request)
        except AuthorizerUnavailable as error:
            self._fail(_expired(error.reason))
            return
        if self._is_void(decision):
            # Within the same timeout.
            self._renew()
            return
        if decision.verdict is Verdict.NEED_ADDRESSES and self.known_addresses is not None:
            # Within the same timeout. The authorizer cannot ask for them again.
            self._request = attrs.evolve(self._request, addresses=self.known_addresses, addresses_withheld=False)
            self._renew()
            return
        self._clear()
        if decision.verdict is Verdict.NEED_BODY:
            self._fail(_expired("the authorizer needs content that was already forwarded"))
        elif decision.verdict is Verdict.NEED_ADDRESSES:
            self._fail(_expired("the authorizer needs addresses that are not known yet"))
        elif not decision.allowed:
            self._fail(LeaseRevoked(decision.reason))
        else:
            if decision.observed is not None and self.observed is None:
                self.observed = decision
            self.renewed = decision
            try:
                self._follow(decision.obligations)
            except AuthorizerUnavailable as error:
                self._fail(_expired(error.reason))
                return
            self._apply(decision.obligations)
            # The bytes already transferred may exceed the new limit.
            if self._has_budget(0, 0):
                # A wait for the earlier charge does not end otherwise.
                self._release()

    def _follow(self, obligations: Obligations) -> None:
        """Count the bytes against the budgets of a later decision."""
        before, self._charge = self._charge, None
        if before is not None:
            self._refund(before)
            before.close()
        if obligations.budgets:
            self._charge = budgets_of(self._context).follow(self._request, obligations.budgets)

    def _is_void(self, decision: Decision) -> bool:
        """Return whether a decision was revoked before it arrived."""
        revocations, request = self._context.revocations, self._request
        return self._revocations != revocations.count and revocations.void(
            self._revocations, request.client, request.origin.authority, decision.rule_id, request.request_id
        )

    def _renewal_failed(self, failure: Failure) -> None:
        if self._over:
            return
        error = failure.value
        if isinstance(error, EgressError):
            self._fail(_expired(error.reason))
            return
        if not isinstance(error, CancelledError):
            _log.failure("renewing the lease of {id} failed", failure=failure, id=self._request.request_id)
        self._fail(_expired("the authorizer failed"))

    def _log_failure(self, failure: Failure) -> None:
        _log.failure("ending {id} failed", failure=failure, id=self._request.request_id)

    def _renewal_timed_out(self) -> None:
        self._timer = None
        self._fail(_expired(f"the authorizer did not decide within {self._context.renewal_timeout:g} s"))

    # -- end

    def _clear(self) -> None:
        self._pending = None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _fail(self, error: EgressError) -> None:
        self.stop()
        self._failed(error)

    def stop(self) -> None:
        """End the lease: stop counting, and cancel a pending renewal."""
        self._over = True
        self.transfer = None
        charge, self._charge = self._charge, None
        if charge is not None:
            self._refund(charge)
            charge.close()
        pending = self._pending
        self._clear()
        if pending is not None:
            pending.cancel()


def _expired(why: str) -> LeaseExpired:
    return LeaseExpired(f"the lease expired, and there was no decision on its renewal: {why}")


def lease_for(
    context: AuthzContext,
    request: DecisionRequest,
    obligations: Obligations,
    failed: Callable[[EgressError], None],
    charge: ICharge | None = None,
) -> Lease | None:
    """Create a lease if the obligations have limits, or the bytes are charged to budgets."""
    counts_bytes = charge is not None and charge.counts_bytes
    if obligations.max_bytes is None and obligations.expires_in is None and not counts_bytes:
        return None
    return Lease(context, request, obligations, failed, charge)
