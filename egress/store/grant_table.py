"""The grants of approvers in an audit store, and their revocations, so that grants survive a restart of all replicas.

The fleet of a row tells which replicas share it.  A grant and a revocation of it can be written in any order: reading
compares them.  C{revoked_at} and C{revoked_by} are for people who read the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from egress.model.approval import LONGEST
from egress.store.grant_rows import GrantRevocation, GrantRow
from egress.store.rollups import Transaction

MAX_GRANTS: Final = 1000
"""The maximum number of grants that are read; those that expire first are left out."""

MAX_REVOCATIONS: Final = 10_000
"""The maximum number of revocations that are read; no grant from before the oldest of them is in force then."""

# The clocks of replicas can differ.
_KEPT: Final = 60.0
# A scope contains a path; a longer one is not that of a request.
_MAX_SUBJECT: Final = 256 * 1024

TABLES: Final = "grants, grant_revocations"

_COLUMNS: Final = (
    *("fleet TEXT NOT NULL", "id TEXT NOT NULL", "created DOUBLE PRECISION NOT NULL"),
    *("until DOUBLE PRECISION NOT NULL", "subject TEXT NOT NULL", "approver TEXT NOT NULL", "reason TEXT NOT NULL"),
    *("revocations TEXT NOT NULL", "seal TEXT NOT NULL"),
    *("revoked_at DOUBLE PRECISION", "revoked_by TEXT NOT NULL DEFAULT ''"),
)
_REVOCATION_COLUMNS: Final = (
    *("fleet TEXT NOT NULL", "id TEXT NOT NULL", "revoked_at DOUBLE PRECISION NOT NULL", "kind TEXT NOT NULL"),
    *("value TEXT NOT NULL", "author TEXT NOT NULL", "seal TEXT NOT NULL"),
)

MIGRATION: Final = (
    f"CREATE TABLE grants ({', '.join(_COLUMNS)}, PRIMARY KEY (fleet, id, created))",
    "CREATE INDEX grants_until ON grants (until)",
    f"CREATE TABLE grant_revocations ({', '.join(_REVOCATION_COLUMNS)}, PRIMARY KEY (fleet, id))",
    "CREATE INDEX grant_revocations_time ON grant_revocations (revoked_at)",
)
"""The statements that make the tables."""

_ADD_GRANT: Final = (
    "INSERT INTO grants (fleet, id, created, until, subject, approver, reason, revocations, seal) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_ADD_REVOCATION: Final = (
    "INSERT INTO grant_revocations (fleet, id, revoked_at, kind, value, author, seal) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING"
)
_END: Final = (
    "UPDATE grants SET revoked_at = ?, revoked_by = ? WHERE fleet = ? AND id = ? AND created = ? AND revoked_at IS NULL"
)
_REPLACE: Final = (
    "UPDATE grants SET revoked_at = ? WHERE fleet = ? AND id = ? AND revoked_at IS NULL AND created < "
    "(SELECT max(created) FROM grants AS other WHERE other.fleet = grants.fleet AND other.id = grants.id)"
)
_GRANTS: Final = (
    "SELECT id, created, until, subject, approver, reason, revocations, seal FROM grants "
    f"WHERE fleet = ? AND until > ? AND revoked_at IS NULL AND length(subject) <= {_MAX_SUBJECT} "
    "ORDER BY until DESC LIMIT ?"
)
_REVOCATIONS: Final = (
    "SELECT id, revoked_at, kind, value, author, seal FROM grant_revocations WHERE fleet = ? "
    "ORDER BY revoked_at DESC LIMIT ?"
)
_DELETE_GRANTS: Final = "DELETE FROM grants WHERE until < ?"
_DELETE_REVOCATIONS: Final = "DELETE FROM grant_revocations WHERE revoked_at < ?"


def add_grants(store: Transaction, fleet: str, rows: Iterable[GrantRow]) -> None:
    """Add grants, in a transaction; one that is there remains as it is.  A later one with the same id replaces it."""
    added = list(rows)
    store.write(_ADD_GRANT, [(fleet, *attrs.astuple(row)) for row in added])
    store.write(_REPLACE, [(row.created, fleet, row.grant_id) for row in added])


def add_revocations(store: Transaction, fleet: str, rows: Iterable[tuple[GrantRevocation, str]]) -> None:
    """Add revocations with their seals, in a transaction; one that is there remains as it is."""
    store.write(_ADD_REVOCATION, [(fleet, *attrs.astuple(each), seal) for each, seal in rows])


def end_grants(store: Transaction, fleet: str, keys: Iterable[tuple[str, float]], revocation: GrantRevocation) -> None:
    """Note in a transaction who revoked grants, and when.

    @param keys: the id of each grant, and when it was made.
    """
    store.write(_END, [(revocation.time, revocation.author, fleet, *key) for key in keys])


def stored_grants(store: Transaction, fleet: str, now: float) -> list[GrantRow]:
    """Return the grants that have not expired, and that no one has noted as revoked."""
    return [GrantRow(*row) for row in store.rows(_GRANTS, (fleet, now, MAX_GRANTS))]


def stored_revocations(store: Transaction, fleet: str) -> list[tuple[GrantRevocation, str]]:
    """Return the last revocations with their seals, the oldest first."""
    rows: Sequence[Sequence[object]] = store.rows(_REVOCATIONS, (fleet, MAX_REVOCATIONS))
    found = []
    for row in reversed(rows):
        *values, seal = row
        found.append((GrantRevocation(*values), str(seal)))  # type: ignore[arg-type]
    return found


def delete_expired(store: Transaction, now: float) -> None:
    """Delete the grants that have expired, and revocations of grants that all have expired, in a transaction."""
    store.write(_DELETE_GRANTS, [(now - _KEPT,)])
    store.write(_DELETE_REVOCATIONS, [(now - LONGEST - _KEPT,)])
