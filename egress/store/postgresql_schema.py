"""The schema of the audit store in PostgreSQL, as numbered migrations, and its statements.

The tables are in a schema of their own.  The table C{migrations} has the number of each applied migration.  A migration
that was released never changes.

As in SQLite, the id of a record begins with its time, and C{seq} is the order in which records were written.  A
transaction that writes locks the row of C{last_seq} until its end.  So its numbers become visible in their order, and a
reader that has seen a number misses no lower one.
"""

from __future__ import annotations

from typing import Final

from egress.store import grant_table, policy_history, rollups
from egress.store.chain_table import INSERT_BLOCK
from egress.store.postgresql_partitions import COUNT_BYTES, INDEXES, MIGRATION, PARAMETERS, TOTAL_SIZE
from egress.store.row import INSERTED
from egress.store.schema import ID_BITS

SCHEMA: Final = "egress"


def _granting(tables: str) -> str:
    """Return the statement that gives new tables to the roles that write or read the other tables."""
    return "".join(
        (
            "DO $body$ DECLARE entry record; BEGIN FOR entry IN SELECT privilege_type, ",
            "CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role ",
            "FROM aclexplode((SELECT relacl FROM pg_class WHERE oid = 'exchanges'::regclass)) LOOP ",
            f"EXECUTE format('GRANT %s ON {tables} TO %s', entry.privilege_type, entry.role); ",
            "END LOOP; END $body$",
        )
    )


# The columns of the first migration.
_FIRST_TYPES: Final = {
    "time_ms": "bigint NOT NULL",
    "client_address": 'text COLLATE "C" NOT NULL',
    "host": 'text COLLATE "C" NOT NULL',
    "path": 'text COLLATE "C" NOT NULL',
    "request_id": 'text COLLATE "C" NOT NULL UNIQUE',
    "client": 'text COLLATE "C" NOT NULL',
    "identity": 'text COLLATE "C"',
    "stage": 'text COLLATE "C" NOT NULL',
    "method": 'text COLLATE "C" NOT NULL',
    "url": 'text COLLATE "C" NOT NULL',
    "verdict": 'text COLLATE "C" NOT NULL',
    "outcome": 'text COLLATE "C" NOT NULL',
    "reason": 'text COLLATE "C" NOT NULL',
    "observed": 'text COLLATE "C"',
    "decided_by": 'text COLLATE "C" NOT NULL',
    "rule_id": 'text COLLATE "C"',
    "source": 'text COLLATE "C"',
    "decision_ms": "double precision",
    "address": 'text COLLATE "C"',
    "upstream": 'text COLLATE "C"',
    "status": "integer",
    "bytes_sent": "bigint NOT NULL",
    "bytes_received": "bigint NOT NULL",
    "duration_ms": "double precision NOT NULL",
    "phases": 'text COLLATE "C" NOT NULL',
    "request_headers": 'text COLLATE "C"',
    "response_headers": 'text COLLATE "C"',
    # Only in PostgreSQL.
    "client_inet": "inet",
    "words": "tsvector NOT NULL",
}
_ADDED_TYPES: Final = dict.fromkeys(
    ("client_http", "origin_http", "grpc_service", "grpc_method", "grpc_status"), 'text COLLATE "C"'
)
_TYPES: Final = {**_FIRST_TYPES, **_ADDED_TYPES, "policy_version": 'text COLLATE "C"'}

MIGRATIONS: Final = (
    (
        "CREATE TABLE exchanges (id bigint NOT NULL, seq bigint NOT NULL, "
        "node text NOT NULL, worker integer NOT NULL, "
        + ", ".join(f"{name} {kind}" for name, kind in _FIRST_TYPES.items())
        + f") WITH ({PARAMETERS})",
        *(f"CREATE INDEX exchanges_{name} ON exchanges {definition}" for name, definition in INDEXES.items()),
        "CREATE TABLE last_seq (seq bigint NOT NULL, bytes bigint NOT NULL, ratio double precision)",
        "INSERT INTO last_seq (seq, bytes) VALUES (0, 0)",
        *(statement.replace(" TEXT ", ' TEXT COLLATE "C" ') for statement in rollups.MIGRATION),
    ),
    # The chain of signed blocks: egress.store.chain_table.  The row of last_seq has the last block, because a reader
    # that waits for its lock gets the newest version of this row only.
    (
        "ALTER TABLE last_seq ADD COLUMN block bigint, ADD COLUMN digest bytea",
        "CREATE TABLE blocks (number bigint NOT NULL, previous bytea NOT NULL, first_seq bigint NOT NULL, "
        "leaves bytea NOT NULL, signature bytea NOT NULL, digest bytea NOT NULL)",
        # Digests cannot be compressed.
        "ALTER TABLE blocks ALTER COLUMN leaves SET STORAGE EXTERNAL",
        # Not unique: records are stored also when someone has changed the number of the last block.
        "CREATE INDEX blocks_number ON blocks (number)",
        "CREATE TABLE anchor (number bigint NOT NULL, previous bytea NOT NULL, pruned_id bigint NOT NULL, "
        "begin_seq bigint NOT NULL, signature bytea NOT NULL)",
    ),
    # Columns that can be NULL are added without writing the table.
    tuple(f"ALTER TABLE exchanges ADD COLUMN {name} {kind}" for name, kind in _ADDED_TYPES.items()),
    ('ALTER TABLE exchanges ADD COLUMN policy_version text COLLATE "C"',),
    # One partition for each day.
    MIGRATION,
    (
        *(statement.replace(" TEXT ", ' TEXT COLLATE "C" ') for statement in policy_history.MIGRATION),
        _granting("policies, policy_uses"),
    ),
    (
        *(statement.replace(" TEXT ", ' TEXT COLLATE "C" ') for statement in grant_table.MIGRATION),
        _granting(grant_table.TABLES),
    ),
)
"""The statements of each migration."""

ENCODED: Final = (*INSERTED, "client_inet", "words")
"""The columns that a row in JSON has."""

_PLAIN: Final = ", ".join(ENCODED)
_DEFINED: Final = ", ".join(f"{name} {_TYPES[name].split()[0]}" for name in ENCODED).replace(
    "double", "double precision"
)
_FROM_JSON: Final = (
    f"ROWS FROM (json_to_recordset(?::json) AS ({_DEFINED})) WITH ORDINALITY AS given ({_PLAIN}, number)"
)

LOCK: Final = "SELECT seq FROM last_seq FOR UPDATE"
"""Begins a transaction that writes."""

LOCK_CHAIN: Final = "SELECT seq, block, digest FROM last_seq FOR UPDATE"
"""Begins a transaction that writes signed records."""

_ADDED: Final = (
    f"WITH added AS (INSERT INTO exchanges (id, seq, node, worker, {_PLAIN}) "
    f"SELECT (given.time_ms << {ID_BITS}) | ((last_seq.seq + given.number) & {(1 << ID_BITS) - 1}), "
    f"last_seq.seq + given.number, ?, ?, {', '.join(f'given.{name}' for name in ENCODED)} "
    f"FROM last_seq, {_FROM_JSON} "
    # Each partition has a unique index of its own.
    "ON CONFLICT DO NOTHING RETURNING id, pg_column_size(exchanges.*) AS size), "
    f"counted AS ({COUNT_BYTES})"
)
_COUNTED: Final = (
    "UPDATE last_seq SET seq = seq + CASE WHEN EXISTS (SELECT FROM added) THEN ? ELSE 0 END, "
    "bytes = bytes + (SELECT coalesce(sum(size), 0) FROM added)"
)

INSERT: Final = f"{_ADDED} {_COUNTED}"
"""Stores rows.  Its values: the node, the worker, a JSON array of rows, and their number."""

INSERT_SIGNED: Final = (
    f"{_ADDED}, block AS ({INSERT_BLOCK}) {_COUNTED}, block = ?, digest = ? RETURNING (SELECT count(*) FROM added)"
)
"""Stores rows and their block, without a further message to the server while other writers wait.  Its values: those of
L{INSERT} with those of L{INSERT_BLOCK} before the number, and the number and the digest of the block.  It returns the
number of the rows that were stored: the transaction must end without a commit unless it is that of the given rows."""

KNOWN: Final = "SELECT request_id FROM exchanges WHERE request_id = ANY (?)"
"""Returns which ids of a list are stored."""

SIGNED: Final = tuple(name for name in ENCODED if name != "words")
"""The columns that the leaf of a record contains."""

RECORDS: Final = (
    "SELECT id, seq, request_id, node, worker, "
    + ", ".join("host(client_inet)" if name == "client_inet" else name for name in SIGNED)
    + " FROM exchanges ORDER BY seq"
)
"""Returns the rows that L{egress.store.postgresql_chain.stored_row} takes."""

SIZE: Final = (
    f"UPDATE last_seq SET ratio = least(ratio, files.size / greatest(bytes, 1)::float8) "
    f"FROM (SELECT {TOTAL_SIZE} AS size) AS files RETURNING (least(ratio * bytes, files.size))::bigint"
)
"""Returns the size of the rows with their part of the indexes.

The files do not shrink when rows are deleted, until their partition is dropped.  So the size of the rows is counted.
The lowest ratio of the size of the files to it is that of files without free space.
"""
