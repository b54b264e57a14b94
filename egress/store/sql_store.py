"""The queries of an audit store in SQL, which are the same for each kind of database.

A statement has C{?} in place of each value, also for a database whose driver has another placeholder, and nowhere
else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from egress.model.policy_use import PolicyUse

from egress.model.change import STAGE
from egress.model.log_numbers import written_time
from egress.store import policy_history
from egress.store.chain import Checkpoint, Stored, Verification
from egress.store.chain_table import verify_chain
from egress.store.destinations import (
    Destinations,
    Page,
    Paths,
    destinations_of,
    destinations_statement,
    paths_of,
    paths_statement,
)
from egress.store.filter_language import Condition, Equals, Filter
from egress.store.filter_sql import Dialect, Query, compile_filter
from egress.store.interfaces import MAX_RULES, RuleUse
from egress.store.row import SELECTED, document_of
from egress.store.schema import ID_BITS

FOLLOW_ROWS: Final = 1000
"""The maximum number of rows that are read together."""

_EXCHANGES: Final = Condition("stage", (Equals(STAGE),), negated=True)

SELECTED_COLUMNS: Final = ", ".join(f"exchanges.{name}" for name in SELECTED)
"""The columns of a row that L{document_of} takes, in SQL."""


class SqlStore(ABC):
    """The part of an audit store that reads records.

    @cvar selected: the columns of a record, in SQL, which L{document} takes.
    """

    selected: ClassVar[str] = SELECTED_COLUMNS

    def document(self, row: Sequence[Any]) -> Mapping[str, Any]:
        """Return the fields of a record from the values of the columns L{selected}."""
        return document_of(row)

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """The dialect of the database."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[None]:
        """Let the queries inside of the context see the same state of the database, and no other thread use it.

        @raise StoreError: if the database cannot be used.
        """

    @abstractmethod
    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Sequence[Any]]:
        """Return all rows of a query.

        @param statement: the query.
        @param values: the values of its placeholders.
        @raise StoreError: if the database cannot be used.
        """

    @abstractmethod
    def stream(
        self, statement: str, values: Sequence[Any], size: int = FOLLOW_ROWS
    ) -> Generator[Sequence[Any], None, None]:
        """Yield the rows of a query of any size, of which C{size} are read together; see L{rows}."""

    @abstractmethod
    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each row, in a transaction."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The location of the store, without a password."""

    @abstractmethod
    def stored(self) -> Iterator[Stored]:
        """Yield all records with their leaves, in the order of C{seq}."""

    def verify(self, keys: Sequence[Ed25519PublicKey], checkpoints: Sequence[Checkpoint] = ()) -> Verification:
        """Compare the records with their signatures.

        @param keys: the public keys, of which one must have signed each block.
        @param checkpoints: blocks that existed earlier.
        @raise StoreError: if there are no signatures.
        """
        return verify_chain(self, self.name, self.stored(), keys, checkpoints)

    def compiled(self, given: Filter) -> Query:
        """Compile a filter for a query of all records."""
        return compile_filter(given, self.dialect)

    def search(self, given: Filter, limit: int | None, oldest_first: bool = False) -> Iterator[Mapping[str, Any]]:
        """Find records; see L{IAuditStore.search}."""
        query = self.compiled(given)
        order = "ASC" if oldest_first else "DESC"
        statement = f"SELECT {self.selected} FROM {query.table} WHERE {query.where.text} ORDER BY {query.id} {order}"
        values = query.where.parameters
        if limit is not None and limit <= FOLLOW_ROWS:
            return map(self.document, self.rows(f"{statement} LIMIT ?", (*values, limit)))
        if limit is not None:
            statement, values = f"{statement} LIMIT ?", (*values, limit)
        return map(self.document, self.stream(statement, values))

    def written_after(self, given: Filter, seq: int) -> tuple[int, list[Mapping[str, Any]]]:
        """Find the records written after another one; see L{IAuditStore.written_after}."""
        query = compile_filter(given, self.dialect)
        with self.snapshot():
            last = min(self.last_seq(), seq + FOLLOW_ROWS)
            rows = self.rows(
                f"SELECT {self.selected} FROM {query.table} WHERE {query.where.text} "
                "AND exchanges.seq > ? AND exchanges.seq <= ? ORDER BY exchanges.seq",
                (*query.where.parameters, seq, last),
            )
        return last, list(map(self.document, rows))

    def last_seq(self) -> int:
        """Return the number of the last record; see L{IAuditStore.last_seq}."""
        return int(self.rows("SELECT seq FROM last_seq")[0][0])

    def statistics(self, given: Filter, top: int) -> Mapping[str, Any]:
        """Count records; see L{IAuditStore.statistics}."""
        if not any(condition.field == "stage" for condition in given.conditions):
            # A change by an administrator is no request.
            given = attrs.evolve(given, conditions=(*given.conditions, _EXCHANGES))
        query = self.compiled(given)
        table, where, values = query.table, query.where.text, query.where.parameters

        def groups(column: str, limit: int | None) -> list[dict[str, Any]]:
            statement = (
                f"SELECT {column}, count(*) FROM {table} WHERE {where} AND {column} IS NOT NULL "
                "GROUP BY 1 ORDER BY 2 DESC, 1"
            )
            found = (
                self.rows(statement, values) if limit is None else self.rows(f"{statement} LIMIT ?", (*values, limit))
            )
            return [{"name": name, "records": number} for name, number in found]

        with self.snapshot():
            number, first, last, sent, received = self.rows(
                "SELECT count(*), min(exchanges.time_ms), max(exchanges.time_ms), "
                "coalesce(sum(exchanges.bytes_sent), 0), coalesce(sum(exchanges.bytes_received), 0) "
                f"FROM {table} WHERE {where}",
                values,
            )[0]
            return {
                "records": number,
                "first": None if first is None else written_time(first / 1000),
                "last": None if last is None else written_time(last / 1000),
                "bytesSent": int(sent),
                "bytesReceived": int(received),
                "verdicts": groups("exchanges.verdict", None),
                "hosts": groups("exchanges.host", top),
                "rules": groups("exchanges.rule_id", top),
            }

    def rule_uses(self, given: Filter) -> Mapping[str, RuleUse]:
        """Count the records of each rule; see L{IAuditStore.rule_uses}."""
        query = self.compiled(given)
        # The index of rules has the ids, which begin with the time.
        rows = self.rows(
            f"SELECT exchanges.rule_id, count(*), max(exchanges.id) FROM {query.table} "
            f"WHERE {query.where.text} AND exchanges.rule_id IS NOT NULL GROUP BY 1 LIMIT ?",
            (*query.where.parameters, MAX_RULES),
        )
        return {rule_id: RuleUse(number, (last >> ID_BITS) / 1000) for rule_id, number, last in rows}

    def policy_uses(self, limit: int) -> list[PolicyUse]:
        """Return the history of policies; see L{IAuditStore.policy_uses}."""
        return policy_history.policy_uses(self, limit)

    def policy_texts(self, digest: str) -> str | None:
        """Return the texts of a policy; see L{IAuditStore.policy_texts}."""
        return policy_history.policy_texts(self, digest)

    def destinations(self, given: Filter, page: Page, now: float) -> Destinations:
        """Find the hosts of records; see L{IAuditStore.destinations}."""
        statement = destinations_statement(given, page, now, self.dialect)
        return destinations_of(self.rows(statement.text, statement.parameters), statement)

    def paths(self, host: str, given: Filter) -> Paths:
        """Find the paths of a host; see L{IAuditStore.paths}."""
        only = Condition("host", (Equals(host),))
        statement = paths_statement(self.compiled(attrs.evolve(given, conditions=(*given.conditions, only))))
        return paths_of(self.rows(statement.text, statement.parameters), host)
