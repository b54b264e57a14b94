"""The schema of the audit store in SQLite, as numbered migrations.

The number of the last migration is the C{user_version} of the file.  A migration that was released never changes.

The id of a record begins with its time, so that a range of ids is a range of times, and each index is in the order of
time.  C{seq} is the order in which records were written.
"""

from __future__ import annotations

from typing import Final

from egress.store.rollups import MIGRATION

ID_BITS: Final = 20
"""The bits of an id that distinguish records of the same millisecond."""

MIGRATIONS: Final = (
    (
        "CREATE TABLE exchanges ("
        "id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, request_id TEXT NOT NULL UNIQUE, time_ms INTEGER NOT NULL, "
        "client TEXT NOT NULL, client_address TEXT NOT NULL, identity TEXT, stage TEXT NOT NULL, "
        "method TEXT NOT NULL, url TEXT NOT NULL, host TEXT NOT NULL, path TEXT NOT NULL, verdict TEXT NOT NULL, "
        "outcome TEXT NOT NULL, reason TEXT NOT NULL, observed TEXT, decided_by TEXT NOT NULL, rule_id TEXT, "
        "source TEXT, decision_ms REAL, address TEXT, upstream TEXT, status INTEGER, bytes_sent INTEGER NOT NULL, "
        "bytes_received INTEGER NOT NULL, duration_ms REAL NOT NULL, phases TEXT NOT NULL, "
        "request_headers TEXT, response_headers TEXT)",
        # The id is the last column of each index, so each of them is in the order of time.
        "CREATE INDEX exchanges_host ON exchanges (host)",
        "CREATE INDEX exchanges_verdict ON exchanges (verdict)",
        "CREATE INDEX exchanges_rule ON exchanges (rule_id) WHERE rule_id IS NOT NULL",
        "CREATE INDEX exchanges_seq ON exchanges (seq)",
        "CREATE TABLE last_seq (seq INTEGER NOT NULL)",
        "INSERT INTO last_seq VALUES (0)",
        "CREATE VIRTUAL TABLE exchanges_text USING fts5 "
        "(reason, url, rule_id, content='exchanges', content_rowid='id', columnsize=0)",
        "CREATE TRIGGER exchanges_insert AFTER INSERT ON exchanges BEGIN "
        "INSERT INTO exchanges_text (rowid, reason, url, rule_id) VALUES (new.id, new.reason, new.url, new.rule_id); "
        "END",
        "CREATE TRIGGER exchanges_delete AFTER DELETE ON exchanges BEGIN "
        "INSERT INTO exchanges_text (exchanges_text, rowid, reason, url, rule_id) "
        "VALUES ('delete', old.id, old.reason, old.url, old.rule_id); END",
    ),
    MIGRATION,
)
"""The statements of each migration."""


def first_id(time_ms: int) -> int:
    """Return the lowest id of a record that began in a millisecond."""
    return time_ms << ID_BITS


def id_at(seconds: float) -> int:
    """Return the lowest id of a record that began at a time or later."""
    # Ids are 64-bit integers: times that exceed them are the ends of their range.
    return max(0, min(first_id(round(seconds * 1_000_000) // 1000), (1 << 63) - 1))
