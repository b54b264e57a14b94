"""Grants, and revocations of grants, as rows of an audit store that only a holder of the key can make.

Each row has a seal: an HMAC over all that a process uses of it.  So someone who can only write to the tables can delete
rows, and put back earlier ones, but cannot make a grant or change what it covers.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

import attrs

from egress.model.approval import Grant
from egress.model.revocation import Revocation, RevocationKind
from egress.shared.keys import SharedKeys

GRANT: Final = "grant"
"""The kind of a revocation of one grant, whose value is the id of the grant."""


class InvalidRow(ValueError):
    """A row that no holder of the key has written."""


@attrs.frozen
class GrantRow:
    """A grant as a row.

    @ivar subject: the scope, as JSON.
    @ivar revocations: the ids of revocations that the grant is not subject to, as JSON.
    """

    grant_id: str
    created: float
    until: float
    subject: str
    approver: str
    reason: str
    revocations: str
    seal: str


@attrs.frozen
class GrantRevocation:
    """A revocation of one or several grants.

    @ivar revocation_id: identifies it.
    @ivar time: seconds since the epoch.
    @ivar kind: L{GRANT}, or the value of a L{RevocationKind}.
    @ivar value: the id of the grant, or what the kind names.
    @ivar author: the name of the administrator; may be empty.
    """

    revocation_id: str
    time: float
    kind: str
    value: str
    author: str

    @classmethod
    def of(cls, revocation: Revocation) -> GrantRevocation:
        """Return a revocation of decisions."""
        kind, value = revocation.kind.value, revocation.value
        return cls(revocation.revocation_id, float(revocation.time), kind, value, revocation.author)

    @classmethod
    def until(cls, time: float, revocation_id: str) -> GrantRevocation:
        """Return a revocation of all grants that were made until a time."""
        return cls(revocation_id, time, RevocationKind.ALL.value, "", "")

    @property
    def matching(self) -> Revocation | None:
        """The revocation of decisions; C{None}: it revokes one grant.

        @raise ValueError: if its kind or its value is not known.
        """
        if self.kind == GRANT:
            return None
        return Revocation(RevocationKind(self.kind), self.value, self.time, self.author, self.revocation_id)


@attrs.frozen
class GrantsRead:
    """What a store has.

    @ivar grants: the grants that have not expired.
    @ivar revocations: the revocations, the oldest first.
    @ivar changed: the number of further grants that someone without the key has changed.
    """

    grants: Sequence[Grant]
    revocations: Sequence[GrantRevocation]
    changed: int = 0


class GrantSeals:
    """Makes rows, and checks them.

    @param secret: the secret of all replicas.
    @ivar fleet: identifies the replicas with this secret; the rows of others have another one.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = SharedKeys(secret, "stored grants").derived()
        self.fleet = self._seal(["fleet"])[:32]

    def _seal(self, values: list[Any]) -> str:
        return hmac.digest(self._key, json.dumps(values).encode("ascii"), "sha256").hex()

    def grant_row(self, grant: Grant) -> GrantRow:
        """Return the row of a grant."""
        found = GrantRow(
            grant.grant_id,
            float(grant.created),
            float(grant.until),
            json.dumps(attrs.asdict(grant.subject)),
            grant.by,
            grant.reason,
            json.dumps(grant.after),
            "",
        )
        return attrs.evolve(found, seal=self._seal(["grant", *attrs.astuple(found)]))

    def grant(self, row: GrantRow) -> Grant:
        """Return the grant of a row.

        @raise InvalidRow: if no holder of the key has written it.
        """
        self._check(row.seal, ["grant", *attrs.astuple(attrs.evolve(row, seal=""))])
        document = {
            "grant_id": row.grant_id,
            "subject": json.loads(row.subject),
            "until": row.until,
            "by": row.approver,
            "reason": row.reason,
            "created": row.created,
            "after": json.loads(row.revocations),
        }
        return Grant.from_json(document)

    def revocation_seal(self, revocation: GrantRevocation) -> str:
        """Return the seal of a revocation."""
        return self._seal(["revocation", *attrs.astuple(revocation)])

    def check_revocation(self, revocation: GrantRevocation, seal: str) -> None:
        """Check the row of a revocation.

        @raise InvalidRow: if no holder of the key has written it.
        """
        self._check(seal, ["revocation", *attrs.astuple(revocation)])

    def _check(self, seal: str, values: list[Any]) -> None:
        if not hmac.compare_digest(seal.encode("utf-8", "replace"), self._seal(values).encode("ascii")):
            raise InvalidRow("a row was changed by someone without the key")
