"""A wrapper that denies requests while the audit log cannot be written, if the operator chose that."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed

from egress.authz.wrapper import Wrapper
from egress.interfaces import IAuthorizer
from egress.model.decision import Decision, DecisionRequest
from egress.model.errors import AuditUnavailable


class AuditRequiringAuthorizer(Wrapper):
    """Calls an authorizer, unless the audit log is broken.

    A rejected request is written to the log, too: the first record that is written ends the rejections.

    @param fault: returns the reason why the last record could not be written; C{None} if it was written.
    """

    def __init__(self, authorizer: IAuthorizer, fault: Callable[[], str | None]) -> None:
        super().__init__(authorizer)
        self._fault = fault

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Forward the request, or fail; see L{IAuthorizer.decide}."""
        if self._fault() is not None:
            return fail(
                AuditUnavailable("the audit log cannot be written, and --audit-failure deny requires an audit record")
            )
        return self._authorizer.decide(request)

    def check_audit(self) -> Deferred[None]:
        """Check whether the last record could be written.  The error is for the operator, so it includes the reason."""
        fault = self._fault()
        if fault is not None:
            return fail(AuditUnavailable(f"the audit log cannot be written: {fault}"))
        return succeed(None)
