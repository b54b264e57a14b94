"""The schema of the audit store in SQLite, as numbered migrations.

The number of the last migration is the C{user_version} of the file.  A migration that was released never changes.

The id of a record begins with its time, so that a range of ids is a range of times.  C{seq} is the order in which
records were written.

Most columns have no indexes of their own: an index of keywords (L{egress.store.keywords}) finds records by them.  Its
parts are tables (L{egress.store.parts}).
"""

from __future__ import annotations

from typing import Final

from egress.store import policy_history
from egress.store.rollups import MIGRATION

ID_BITS: Final = 20
"""The bits of an id that distinguish records of the same millisecond."""

MAX_ID: Final = (1 << 63) - 1
"""The highest id."""

MIGRATIONS: Final = (
    (
        "CREATE TABLE exchanges ("
        "id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, request_id TEXT NOT NULL, time_ms INTEGER NOT NULL, "
        "client TEXT NOT NULL, client_address TEXT NOT NULL, identity TEXT, stage TEXT NOT NULL, "
        "method TEXT NOT NULL, url TEXT NOT NULL, host TEXT NOT NULL, path TEXT NOT NULL, verdict TEXT NOT NULL, "
        "outcome TEXT NOT NULL, reason TEXT NOT NULL, observed TEXT, decided_by TEXT NOT NULL, rule_id TEXT, "
        "source TEXT, decision_ms REAL, address TEXT, upstream TEXT, status INTEGER, bytes_sent INTEGER NOT NULL, "
        "bytes_received INTEGER NOT NULL, duration_ms REAL NOT NULL, phases TEXT NOT NULL, "
        "request_headers TEXT, response_headers TEXT)",
        "CREATE INDEX exchanges_seq ON exchanges (seq)",
        # For the number of records of each rule.  A batch has few different rules, so that it changes few pages.
        "CREATE INDEX exchanges_rule ON exchanges (rule_id) WHERE rule_id IS NOT NULL",
        "CREATE TABLE last_seq (seq INTEGER NOT NULL)",
        "INSERT INTO last_seq VALUES (0)",
        # The parts of the index: the ids of its records, and their number, also of deleted ones.
        "CREATE TABLE parts (number INTEGER PRIMARY KEY, first_id INTEGER NOT NULL, last_id INTEGER NOT NULL, "
        "records INTEGER NOT NULL)",
    ),
    MIGRATION,
    # The chain of signed blocks: egress.store.chain_table.
    (
        "CREATE TABLE blocks (number INTEGER PRIMARY KEY, previous BLOB NOT NULL, first_seq INTEGER NOT NULL, "
        "leaves BLOB NOT NULL, signature BLOB NOT NULL, digest BLOB NOT NULL)",
        "CREATE TABLE anchor (number INTEGER NOT NULL, previous BLOB NOT NULL, pruned_id INTEGER NOT NULL, "
        "begin_seq INTEGER NOT NULL, signature BLOB NOT NULL)",
    ),
    tuple(
        f"ALTER TABLE exchanges ADD COLUMN {name} TEXT"
        for name in ("client_http", "origin_http", "grpc_service", "grpc_method", "grpc_status")
    ),
    ("ALTER TABLE exchanges ADD COLUMN policy_version TEXT",),
    policy_history.MIGRATION,
)
"""The statements of each migration."""


def first_id(time_ms: int) -> int:
    """Return the lowest id of a record that began in a millisecond."""
    return time_ms << ID_BITS


def id_at(seconds: float) -> int:
    """Return the lowest id of a record that began at a time or later."""
    # Ids are 64-bit integers: times that exceed them are the ends of their range.
    return max(0, min(first_id(round(seconds * 1_000_000) // 1000), MAX_ID))
