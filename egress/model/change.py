"""Changes that an administrator makes while the proxy runs, and their audit records."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

import attrs

from egress.model.decision import ClientIdentity
from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord

STAGE: Final = "admin"
"""The C{stage} of the record of a change."""

VERDICT: Final = "change"
"""The C{verdict} of the record of a change."""


class ChangeKind(enum.Enum):
    """What changed: the C{outcome} of the record."""

    POLICY_RELOADED = "policy-reloaded"
    RELOAD_FAILED = "policy-reload-failed"
    RULE_ADDED = "rule-added"
    APPROVAL_ALLOWED = "approval-allowed"
    APPROVAL_DENIED = "approval-denied"
    GRANT_ADDED = "grant-added"
    GRANT_REVOKED = "grant-revoked"
    DECISIONS_REVOKED = "decisions-revoked"


@attrs.frozen(kw_only=True)
class Actor:
    """Who made a change.

    @ivar role: C{"admin"}: the client has the token of an administrator, or access to the socket.
    @ivar address: the address of the client; empty on a UNIX socket.
    @ivar port: its port; 0 on a UNIX socket.
    @ivar place: C{"console"} or C{"admin API"}.
    """

    role: str
    address: str = ""
    port: int = 0
    place: str


@attrs.frozen
class Change:
    """A change.

    @ivar kind: what changed.
    @ivar text: the change in words, with the digests of the policy before and after it.
    @ivar actor: who made it.
    @ivar policy: the policy that an administrator wrote, for the history of policies.
    """

    kind: ChangeKind
    text: str
    actor: Actor
    policy: PolicyUse | None = None

    def to_json(self) -> dict[str, Any]:
        """Serialize the object for L{from_json} in another process of this proxy."""
        policy = None if self.policy is None else attrs.asdict(self.policy)
        return {"kind": self.kind.value, "text": self.text, "actor": attrs.asdict(self.actor), "policy": policy}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Change:
        """Parse a change that another process of this proxy serialized."""
        policy = document["policy"]
        return cls(
            ChangeKind(document["kind"]),
            document["text"],
            Actor(**document["actor"]),
            None if policy is None else PolicyUse(**policy),
        )

    def record(self, time: float, request_id: str) -> ExchangeRecord:
        """Return the audit record, in which the fields of an exchange are empty.

        @param time: seconds since the epoch.
        @param request_id: the id of the record.
        """
        return ExchangeRecord(
            time=time,
            request_id=request_id,
            client=ClientIdentity(self.actor.address, self.actor.port, self.actor.role),
            stage=STAGE,
            method="",
            url="",
            verdict=VERDICT,
            outcome=self.kind.value,
            reason=self.text,
            decided_by=self.actor.place,
            rule_id=None,
            decision_seconds=None,
            status=None,
            bytes_sent=0,
            bytes_received=0,
            duration=0.0,
            address=None,
            upstream=None,
            observed=None,
            source=None,
            phases=(),
            request_headers=None,
            response_headers=None,
            trace=None,
            grpc=None,
            client_http=None,
            origin_http=None,
            policy_version=None,
        )


def policy_change(before: str | None, after: str | None) -> str:
    """Return the digests of the policy in words.

    @param before: the digest before a change; C{None}: something else decides.
    @param after: the digest after it.
    """
    if before is None or after is None:
        return ""
    return f"; the policy remains {after}" if before == after else f"; the policy was {before}, and is {after}"
