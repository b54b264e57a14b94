"""Nothing leaves that cannot be put on record, where the operator wants it so."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed

from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuditUnavailable


class AuditRequiringAuthorizer(Wrapper):
    """Asks an authorizer, unless the audit log is broken.

    What is refused is written, too: the first line that gets through ends the refusals.

    @param fault: why the last line could not be written; C{None} when it was.
    """

    def __init__(self, authorizer: IAuthorizer, fault: Callable[[], str | None]) -> None:
        super().__init__(authorizer)
        self._fault = fault

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Ask; see L{IAuthorizer.decide}."""
        if self._fault() is not None:
            return fail(AuditUnavailable("the audit log cannot be written, and nothing may leave without its record"))
        return self._authorizer.decide(request)

    def check_audit(self) -> Deferred[None]:
        """Find out whether the last line could be written; for the operator, so with the reason."""
        fault = self._fault()
        if fault is not None:
            return fail(AuditUnavailable(f"the audit log cannot be written: {fault}"))
        return succeed(None)
