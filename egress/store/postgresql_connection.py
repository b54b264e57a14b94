"""Connections to PostgreSQL, in which no call waits for a server without a limit.

The driver, psycopg, is imported by the first connection: a proxy with another audit store does not need it.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs

from egress.store.interfaces import StoreError, StoreUnreachable

if TYPE_CHECKING:
    import psycopg

INSTALL: Final = "pip install 'egressproxy[postgresql]'"

# The parameters of libpq, unless the URL has others.
_PARAMETERS: Final = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 30,
    "fallback_application_name": "egressproxy",
}


class RecordRefused(ValueError):
    """The database cannot contain a record; it can contain others."""


@attrs.frozen(kw_only=True)
class Database:
    """A database, and how to connect to it.

    @ivar url: its URL, without a password.
    @ivar password: the password; C{None}: that of libpq, such as from a password file.
    @ivar read_only: whether no statement may change it.
    @ivar seconds: the seconds after which a statement fails.
    """

    url: str
    password: str | None = attrs.field(default=None, repr=False)
    read_only: bool = False
    seconds: float = 5.0

    def connect(self, schema: str) -> psycopg.Connection[Any]:
        """Connect to it.

        @param schema: the schema of the tables.
        @raise StoreError: if the driver is not installed, or the URL has an unknown parameter.
        @raise StoreUnreachable: if the server does not accept the connection.
        """
        driver = load_driver()
        try:
            parameters = {**_PARAMETERS, **driver.conninfo.conninfo_to_dict(self.url)}
        except driver.Error as error:
            raise StoreError(f"{self.url}: {in_one_line(error)}") from error
        if self.password is not None:
            parameters["password"] = self.password
        try:
            # Prepared statements would need a connection of its own behind a pooler.
            connection: psycopg.Connection[Any] = _bounded_connection(self.seconds).connect(
                **parameters, autocommit=True, prepare_threshold=None
            )
        except (driver.Error, UnicodeError, OSError) as error:
            raise StoreUnreachable(f"{self.url}: {in_one_line(error)}") from error
        with reported(self.url):
            milliseconds = int(self.seconds * 1000)
            # A writer that does not end its transaction delays all other ones.
            idle = 600_000 if self.read_only else 10_000
            connection.execute(
                f"SET search_path TO {schema}; SET statement_timeout = {milliseconds}; SET timezone = 'UTC'; "
                f"SET idle_in_transaction_session_timeout = {idle}; "
                f"SET default_transaction_read_only = {'on' if self.read_only else 'off'}"
            )
        return connection


def load_driver() -> Any:
    """Import psycopg.

    @raise StoreError: if it is not installed.
    """
    try:
        import psycopg  # noqa: PLC0415 - an optional dependency
        import psycopg.conninfo  # noqa: PLC0415
    except ImportError as error:
        raise StoreError(f"psycopg is not installed: run {INSTALL}") from error
    return psycopg


@contextmanager
def reported(url: str) -> Iterator[None]:
    """Report the errors of psycopg as L{StoreError}, L{StoreUnreachable} or L{RecordRefused}."""
    driver = load_driver()
    try:
        yield
    except (driver.OperationalError, driver.InterfaceError) as error:
        raise StoreUnreachable(f"{url}: {in_one_line(error)}") from error
    except (driver.DataError, driver.IntegrityError) as error:
        raise RecordRefused(in_one_line(error)) from error
    except driver.errors.InsufficientPrivilege as error:
        raise StoreError(f"{url}: {in_one_line(error)}: grant it to the role of the proxy") from error
    except driver.Error as error:
        raise StoreError(f"{url}: {in_one_line(error)}") from error


@contextmanager
def patient(connection: Any, seconds: float) -> Iterator[None]:
    """Give each call of a connection more time.

    @param connection: the connection (L{Database.connect}).
    @param seconds: the seconds.
    """
    before, connection.limit = connection.limit, seconds
    try:
        yield
    finally:
        connection.limit = before


def in_one_line(error: BaseException) -> str:
    """Return the message of an error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _bounded_connection(seconds: float) -> Any:
    """Return a class of connections whose calls end when a server does not respond.

    The server itself ends a statement after this time, unless it is stopped or cannot be reached.
    """
    driver = load_driver()

    class BoundedConnection(driver.Connection):  # type: ignore[misc, name-defined]
        limit = seconds + 1

        def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
            return super().wait(_bounded(gen, self.limit, self), *args, **kwargs)

    return BoundedConnection


def _bounded(
    generator: Generator[Any, Any, Any], seconds: float, connection: psycopg.Connection[Any]
) -> Generator[Any, Any, Any]:
    """Run a generator of psycopg, which receives 0 while a socket is not ready."""
    until = time.monotonic() + seconds
    try:
        wanted = next(generator)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > until:
                # The connection cannot be used any more.
                connection.pgconn.finish()
                raise load_driver().OperationalError(f"the server did not respond within {seconds:g} seconds")
            wanted = generator.send(ready)
    except StopIteration as end:
        return end.value
