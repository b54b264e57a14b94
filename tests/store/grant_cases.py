"""A database in memory for tests about stored grants, and grants."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from egress.authz.stored_revocations import covers
from egress.model.approval import Grant, GrantScope
from egress.model.revocation import Revocation, RevocationKind
from egress.store.grant_rows import GRANT, GrantRevocation, GrantSeals
from egress.store.grant_store import GrantStore
from egress.store.grant_table import MIGRATION
from egress.store.interfaces import StoreUnreachable
from tests.authz.fakes import REQUEST

SECRET = b"s" * 32
NOW = 1_000_000.0


def grant(name: str = "g", created: float = NOW, seconds: float = 3600.0, **changes: Any) -> Grant:
    """Make a grant."""
    scope = GrantScope.of(REQUEST, "rule")
    made = Grant(name, scope, created + seconds, "ann", "a release", created=created)
    return attrs.evolve(made, **changes)


def revocation(name: str = "g", time: float = NOW + 1, revocation_id: str = "r1") -> GrantRevocation:
    """Make a revocation of one grant."""
    return GrantRevocation(revocation_id, time, GRANT, name, "")


def matching(kind: str, value: str, time: float = NOW + 1, revocation_id: str = "r1") -> GrantRevocation:
    """Make a revocation of decisions."""
    return GrantRevocation.of(Revocation(RevocationKind(kind), value, time, "bob", revocation_id))


class MemoryDatabase:
    """A database with the tables of grants.

    @ivar is_reached: whether transactions succeed.
    @ivar released: how often the connection was closed.
    """

    def __init__(self) -> None:
        self.is_reached = True
        self.released = 0
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        for statement in MIGRATION:
            self._connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if not self.is_reached:
            raise StoreUnreachable("no server")
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    def write(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(statement, rows)

    def release(self) -> None:
        self.released += 1


def store_of(database: MemoryDatabase, secret: bytes = SECRET) -> GrantStore:
    """Return a store of replicas."""
    return GrantStore(database, GrantSeals(secret), covers)
