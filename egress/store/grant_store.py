"""The grants of approvers in an audit store on a server.  Its methods block, for a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Protocol

from egress.config.model import ProxyConfig
from egress.model.approval import Grant
from egress.store.grant_key import grant_secret
from egress.store.grant_rows import GrantRevocation, GrantSeals, GrantsRead, InvalidRow
from egress.store.grant_table import (
    add_grants,
    add_revocations,
    delete_expired,
    end_grants,
    stored_grants,
    stored_revocations,
)
from egress.store.interfaces import StoreError
from egress.store.postgresql import PostgresqlStore
from egress.store.postgresql_connection import Database
from egress.store.rollups import Transaction

CHANGED: Final = "someone without the key has changed the table grant_revocations, in the row with this id"


class GrantDatabase(Transaction, Protocol):
    """The database of an audit store."""

    def transaction(self) -> AbstractContextManager[object]:
        """Run statements in one transaction."""

    def release(self) -> None:
        """Close the connection until the next use."""


class GrantStore:
    """Writes and reads grants and revocations.  It has a connection only during a call.

    @param database: the database.
    @param seals: makes and checks rows.
    @param covers: returns whether a revocation covers a grant.
    """

    def __init__(
        self, database: GrantDatabase, seals: GrantSeals, covers: Callable[[GrantRevocation, Grant], bool]
    ) -> None:
        self._database = database
        self._seals = seals
        self._covers = covers

    def write(self, grants: Sequence[Grant], revocations: Sequence[GrantRevocation], now: float) -> set[str]:
        """Store grants and revocations, all of them or none.  A row that exists remains as it is.

        @return: the ids of the grants that these revocations ended.
        @raise StoreError: if they are not stored.
        """
        seals = self._seals
        rows = list(map(seals.grant_row, grants))
        sealed = [(each, seals.revocation_seal(each)) for each in revocations]
        ended: set[str] = set()
        with self._used() as database:
            add_grants(database, seals.fleet, rows)
            add_revocations(database, seals.fleet, sealed)
            current = self._valid(database, now)[0] if revocations else []
            for revocation in revocations:
                keys = [(each.grant_id, each.created) for each in current if self._covers(revocation, each)]
                end_grants(database, seals.fleet, keys, revocation)
                ended.update(grant_id for grant_id, _ in keys)
            delete_expired(database, now)
        return ended

    def read(self, now: float) -> GrantsRead:
        """Return the grants and revocations.

        @raise StoreError: if it cannot be read, or if someone without the key has changed a revocation.
        """
        with self._used() as database:
            # First, so that the revocations are at least as new.
            grants, changed = self._valid(database, now)
            found = stored_revocations(database, self._seals.fleet)
        for revocation, seal in found:
            try:
                self._seals.check_revocation(revocation, seal)
                revocation.matching  # noqa: B018 - this checks it
            except ValueError as error:
                # It is unknown what it revoked.
                raise StoreError(f"{CHANGED}: {revocation.revocation_id}") from error
        return GrantsRead(grants, [revocation for revocation, _ in found], changed)

    def _valid(self, database: GrantDatabase, now: float) -> tuple[list[Grant], int]:
        """Return the grants, and the number of rows that no holder of the key has written."""
        grants, changed = [], 0
        for row in stored_grants(database, self._seals.fleet, now):
            try:
                grants.append(self._seals.grant(row))
            except InvalidRow:
                changed += 1
        return grants, changed

    @contextmanager
    def _used(self) -> Iterator[GrantDatabase]:
        try:
            with self._database.transaction():
                yield self._database
        finally:
            self._database.release()


def configured_grant_store(config: ProxyConfig, covers: Callable[[GrantRevocation, Grant], bool]) -> GrantStore:
    """Return the grants of an audit store; the first call of a method connects.

    @param config: a configuration whose audit store keeps grants.
    @param covers: returns whether a revocation covers a grant.
    @raise ConfigError: if the key cannot be read.
    """
    database = PostgresqlStore(Database(url=config.audit_store or "", password=config.audit_store_password))
    return GrantStore(database, GrantSeals(grant_secret(config)), covers)
