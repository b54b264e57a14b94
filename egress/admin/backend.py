"""The admin backend of one process, which the supervisor can use over a channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred, succeed

from egress.admin.changes import ChangeLog
from egress.admin.grant_setup import decisions_revoked, grant_revoked
from egress.admin.shared_approvals import AnsweredElsewhere, SharedApprovals, answered
from egress.admin.shared_grants import GrantRevoked
from egress.admin.shared_revocations import SharedRevocations
from egress.admin.stored_grants import StoredGrants
from egress.authz.approvals import Approvals
from egress.authz.grant_register import key_of
from egress.interfaces import IRevocations
from egress.model.approval import ApprovalAnswer, Grant, GrantTimes
from egress.model.change import Change
from egress.model.explanation import ExplainRequest, Explanation
from egress.model.pending import merged
from egress.model.redact import redact_url
from egress.model.revocation import Revocation, RevocationCounts

# The words of L{LocalAdminBackend.report}.
GRANT_ADDED: Final = "grant-added"
GRANT_REVOKED: Final = "grant-revoked"
DECISIONS_REVOKED: Final = "decisions-revoked"


class LocalAdminBackend:
    """The admin backend of a process that serves clients (L{egress.admin.api.AdminBackend}).

    @param explain: explains a request.
    @param changes: receives the changes of administrators.
    @param revocations: applies revocations to this process.
    @param shared: the approvals of all replicas, if they share state.
    @param stored: the grants of the audit store, if it keeps grants.
    """

    def __init__(
        self,
        approvals: Approvals,
        explain: Callable[[ExplainRequest], Deferred[Explanation]],
        changes: ChangeLog,
        revocations: IRevocations,
        *,
        shared: SharedApprovals | None = None,
        stored: StoredGrants | None = None,
    ) -> None:
        self._approvals = approvals
        self._explain = explain
        self._changes = changes
        self._revocations = revocations
        self._shared = shared
        self._stored = stored

    def start(self) -> None:
        """Read the grants of the audit store.  Replicas that share state do so when they are connected."""
        if self._stored is not None and self._shared is None:
            self._stored.read()

    def stop(self) -> Deferred[Any]:
        """Write the grants and revocations that wait."""
        return succeed(None) if self._stored is None else self._stored.stop()

    def listed(self) -> Deferred[dict[str, Any]]:
        """List the pending approvals and the grants."""
        found = self._approvals.listed(redact_url)
        if self._shared is None:
            return succeed(found)
        return self._shared.listed().addCallback(lambda pending: {**found, "pending": merged(pending)})

    def answer(self, approval_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Resolve a pending approval."""
        resolved, made = self._approvals.answer(approval_id, answer)
        shared = self._shared
        if shared is None:
            return succeed(answered(resolved, made, ()))

        def result(elsewhere: AnsweredElsewhere) -> dict[str, Any]:
            grant = made or elsewhere.grant
            # The event of the grant has resolved other requests here.
            more = 0 if grant is None else shared.grants.take_resolved(key_of(grant))
            return answered(resolved + elsewhere.resolved + more, grant, elsewhere.unconfirmed)

        return shared.answer(approval_id, answer, made).addCallback(result)

    def add_grant(self, grant: Grant) -> int:
        """Add a grant that was made in another process."""
        return self._approvals.grant(grant)

    def revoke(self, grant_id: str) -> Deferred[bool]:
        """Revoke a grant."""
        return self._revoke(grant_id).addCallback(GrantRevoked.result)

    def _revoke(self, grant_id: str) -> Deferred[GrantRevoked]:
        if self._shared is not None:
            revoked = self._shared.grants.revoke(grant_id)
        else:
            revoked = succeed(GrantRevoked(self._approvals.revoke(grant_id), ()))
            if self._stored is not None:
                self._stored.revoke(grant_id)
        return grant_revoked(revoked, self._stored, grant_id)

    def revoke_decisions(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """Void decisions, and end what runs because of them."""
        return decisions_revoked(self._revocations.apply(revocation), self._stored)

    def explain(self, request: ExplainRequest) -> Deferred[dict[str, Any]]:
        """Explain what the proxy would do with a request."""
        return maybeDeferred(self._explain, request).addCallback(lambda explanation: explanation.to_json())

    def record(self, change: Change) -> None:
        """Record a change."""
        self._changes.write(change)

    # -- requests of the supervisor

    def record_for_parent(self, change: Mapping[str, Any]) -> bool:
        """Record a change for the supervisor."""
        self.record(Change.from_json(change))
        return True

    def pending_approvals(self) -> Any:
        """List the pending approvals, also of other replicas; the supervisor knows the grants."""
        if self._shared is not None:
            return self._shared.listed()
        return self._approvals.listed(redact_url)["pending"]

    def resolve_for_parent(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Resolve a pending approval for the supervisor: C{{"id": ..., "answer": {...}, "times": {...}}}."""
        times = None if request["times"] is None else GrantTimes.from_json(request["times"])
        resolved, grant = self._approvals.answer(request["id"], ApprovalAnswer.parse(request["answer"]), times=times)
        return {"resolved": resolved, "grant": None if grant is None else grant.to_json()}

    def resolve_elsewhere_for_parent(self, request: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Resolve a pending approval of other replicas for the supervisor."""
        assert self._shared is not None
        grant = None if request["grant"] is None else Grant.from_json(request["grant"])
        elsewhere = self._shared.answer(request["id"], ApprovalAnswer.parse(request["answer"]), grant)
        return elsewhere.addCallback(AnsweredElsewhere.to_json)

    def add_grant_for_parent(self, document: Mapping[str, Any]) -> int:
        """Add a grant that another worker has just made, for the supervisor."""
        grant, register = Grant.from_json(document), self._approvals.register
        if register.accepts(grant):
            register.confirm(grant)
            register.trust(grant)
        resolved = self.add_grant(grant)
        # Its event can have been faster.
        return resolved if self._shared is None else resolved + self._shared.grants.take_resolved(key_of(grant))

    def announce_grant_for_parent(self, document: Mapping[str, Any]) -> int:
        """Add an earlier grant for the supervisor.  It is in force if no replica has revoked it."""
        return self.add_grant(Grant.from_json(document))

    def grants_in_force_for_parent(self) -> list[str]:
        """Return the ids of the grants that apply now, for the supervisor."""
        return [each["id"] for each in self._approvals.listed(redact_url)["grants"]]

    def revoke_for_parent(self, grant_id: str) -> bool:
        """Revoke a grant in this process only, for the supervisor."""
        return self._approvals.revoke(grant_id)

    def revoke_elsewhere_for_parent(self, grant_id: str) -> Deferred[dict[str, Any]]:
        """Revoke a grant of all replicas for the supervisor."""
        assert self._shared is not None
        return self._revoke(grant_id).addCallback(GrantRevoked.to_json)

    def revoke_decisions_for_parent(self, revocation: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Void decisions for the supervisor."""
        return self.revoke_decisions(Revocation.from_json(revocation)).addCallback(RevocationCounts.to_json)

    def confirm_revocation_for_parent(self, revocation: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Wait until other replicas have confirmed a revocation, for the supervisor."""
        assert isinstance(self._revocations, SharedRevocations)
        return self._revocations.confirm(Revocation.from_json(revocation)).addCallback(RevocationCounts.to_json)

    def report(self, send: Callable[[str, Mapping[str, Any]], object]) -> None:
        """Report what this process learns from other replicas, or tells them, to the supervisor.

        @param send: sends a word and what it is about.
        """
        if self._shared is None:
            return

        grants = self._shared.grants
        added, revoked = grants.on_grant, grants.on_revoked

        def grant_added(grant: Grant) -> None:
            added(grant)
            send(GRANT_ADDED, grant.to_json())

        def one_revoked(grant_id: str, revocation_id: str, time: float) -> None:
            revoked(grant_id, revocation_id, time)
            send(GRANT_REVOKED, {"id": grant_id, "revocation": revocation_id, "time": time})

        def many_revoked(revocation: Revocation) -> None:
            send(DECISIONS_REVOKED, revocation.to_json())

        grants.on_grant, grants.on_revoked = grant_added, one_revoked
        if isinstance(self._revocations, SharedRevocations):
            self._revocations.on_received = many_revoked

    def explain_for_parent(self, request: Mapping[str, Any]) -> Deferred[dict[str, Any]]:
        """Explain a request for the supervisor."""
        return self.explain(ExplainRequest.parse(request))
