"""The history of policies in an audit store: when each version came into use, where, from which source, and its text.

The workers of a machine use the same policy, so a machine adds an entry only if its last one has another policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from egress.model.policy_use import PolicyUse
from egress.store.rollups import Transaction

MAX_ENTRIES: Final = 10_000
"""The maximum number of entries; older ones are deleted with their texts."""

MIGRATION: Final = (
    "CREATE TABLE policies (digest TEXT PRIMARY KEY, texts TEXT NOT NULL)",
    "CREATE TABLE policy_uses (time_ms BIGINT NOT NULL, machine TEXT NOT NULL, version TEXT NOT NULL, "
    "digest TEXT NOT NULL, source TEXT NOT NULL, author TEXT NOT NULL)",
    "CREATE INDEX policy_uses_time ON policy_uses (time_ms)",
    "CREATE INDEX policy_uses_machine ON policy_uses (machine, source, time_ms)",
)
"""The statements that make the tables."""

_ADD_TEXTS: Final = "INSERT INTO policies (digest, texts) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING"
_LAST: Final = (
    "SELECT digest, author FROM policy_uses WHERE machine = ? AND source = ? AND time_ms <= ? "
    "ORDER BY time_ms DESC LIMIT 1"
)
_ADD_USE: Final = (
    "INSERT INTO policy_uses (time_ms, machine, version, digest, source, author) VALUES (?, ?, ?, ?, ?, ?)"
)
_OLD: Final = "SELECT time_ms FROM policy_uses ORDER BY time_ms DESC LIMIT 1 OFFSET ?"
_DELETE_USES: Final = "DELETE FROM policy_uses WHERE time_ms <= ?"
_DELETE_TEXTS: Final = "DELETE FROM policies WHERE digest NOT IN (SELECT digest FROM policy_uses)"
_USES: Final = (
    "SELECT time_ms, machine, version, digest, source, author FROM policy_uses ORDER BY time_ms DESC, machine LIMIT ?"
)
_TEXTS: Final = "SELECT texts FROM policies WHERE digest = ?"


def add_policies(store: Transaction, node: str, uses: Iterable[PolicyUse]) -> None:
    """Add entries, in a transaction that has the lock of writers; an entry that exists already is ignored.

    @param node: the name of the machine.
    """
    for use in uses:
        time_ms = int(use.time * 1000)
        if store.rows(_LAST, (node, use.source, time_ms))[:1] == [(use.digest, use.author)]:
            continue
        if use.texts:
            store.write(_ADD_TEXTS, [(use.digest, use.texts)])
        store.write(_ADD_USE, [(time_ms, node, use.version, use.digest, use.source, use.author)])
    old = store.rows(_OLD, (MAX_ENTRIES,))
    if old:
        store.write(_DELETE_USES, [(old[0][0],)])
        store.write(_DELETE_TEXTS, [()])


def policy_uses(store: Transaction, limit: int) -> list[PolicyUse]:
    """Return the newest entries, the newest first, without their texts."""
    names = ("node", "version", "digest", "source", "author")
    return [
        PolicyUse(time=row[0] / 1000, **dict(zip(names, row[1:], strict=True))) for row in store.rows(_USES, (limit,))
    ]


def policy_texts(store: Transaction, digest: str) -> str | None:
    """Return the texts of a policy as JSON; C{None} if there are none."""
    found: Sequence[Sequence[Any]] = store.rows(_TEXTS, (digest,))
    return str(found[0][0]) if found else None
