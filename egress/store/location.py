"""Opening the audit store that an option names."""

from __future__ import annotations

import hashlib
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs

from egress.model.converters import ConfigError
from egress.store import sqlite
from egress.store.chain import Signer
from egress.store.interfaces import IAuditStore, StoreError
from egress.store.postgresql import PostgresqlStore
from egress.store.postgresql_connection import Database
from egress.store.signing_key import load_signer
from egress.store.spool import Spool
from egress.store.spooled import SpooledStore
from egress.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from egress.config.model import ProxyConfig

SPOOL: Final = "audit-spool"
"""The directory of the spools in the state directory."""

_SQLITE: Final = "sqlite:"
_POSTGRESQL: Final = ("postgresql://", "postgres://")
# A search can read all records.
_READ_SECONDS: Final = 60.0
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.-]+")


@attrs.frozen(kw_only=True)
class StoreSettings:
    """The fields of a configuration with which a store is opened.

    The writer process has only these: the modules of the complete configuration would delay its start.
    """

    audit_store: str | None
    audit_store_password: str | None = attrs.field(repr=False)
    audit_spool_size: int
    ca_dir: Path
    audit_signing_key: Path | None = None


def is_location(text: str) -> bool:
    """Tell whether a text is the location of an audit store."""
    return text.startswith((_SQLITE, *_POSTGRESQL))


def sqlite_file(location: str) -> Path | None:
    """Return the file of a location, as C{ProxyConfig.audit_store} contains it; C{None} for a server."""
    return Path(location.removeprefix(_SQLITE)) if location.startswith(_SQLITE) else None


def spool_directory(config: ProxyConfig | StoreSettings) -> Path:
    """Return the directory of the spool, which depends on the server and the database.

    @param config: a configuration with an audit store on a server.
    """
    url = urlsplit(config.audit_store or "")
    database = url.netloc.rpartition("@")[2] + url.path
    digest = hashlib.sha256(database.encode("utf-8")).hexdigest()[:12]
    return config.ca_dir / SPOOL / f"{_UNSAFE.sub('-', database)[:80]}-{digest}"


def configured_store(
    config: ProxyConfig | StoreSettings, *, worker: int = 0, check: bool = True, signer: Signer | None = None
) -> IAuditStore:
    """Open the audit store of a configuration.

    @param config: a configuration with an audit store.
    @param worker: the number of this worker; 0 without workers.
    @param check: whether to connect to a server, to find errors in the configuration; otherwise, another process does.
    @param signer: signs the records, in place of the key of the configuration.
    @raise ConfigError: if it cannot be opened; it names the option and the fix.
    """
    location = config.audit_store or ""
    path = sqlite_file(location)
    if config.audit_signing_key is not None:
        signer = load_signer(config.audit_signing_key)
    try:
        if path is not None:
            return sqlite.open_store(path, signer)
        database = Database(url=location, password=config.audit_store_password)
        server = PostgresqlStore(database, socket.gethostname(), worker, signer)
        spool = Spool(spool_directory(config), config.audit_spool_size)
        store = SpooledStore(server, spool, time.monotonic)
        if check:
            _prepare(spool)
            store.check()
        return store
    except OSError as error:
        raise ConfigError("--audit-store", location, f"cannot be written to: {error.strerror}") from error
    except StoreError as error:
        raise ConfigError("--audit-store", location, f"cannot be written to: {error}") from error


def _prepare(spool: Spool) -> None:
    try:
        spool.prepare()
    except OSError as error:
        remedy = f"the spool of --audit-store cannot be written: {error.filename}: {error.strerror}"
        raise ConfigError("--ca-dir", "", remedy) from error


def missing_tables(config: ProxyConfig) -> bool:
    """Connect to the server of an audit store, and return whether it has no tables of this version yet.

    @param config: a configuration with an audit store on a server.
    @raise StoreUnreachable: if the server does not accept the connection.
    @raise StoreError: if a newer version has written the tables, or they cannot be read.
    """
    store = PostgresqlStore(Database(url=config.audit_store or "", password=config.audit_store_password))
    try:
        return store.missing_migrations() > 0
    finally:
        store.close()


def migrate(location: str, password: str | None = None) -> None:
    """Create or update the tables of an audit store.

    @raise StoreError: if they cannot be written.
    """
    path = sqlite_file(location)
    if path is not None:
        sqlite.open_store(path).close()
        return
    store = PostgresqlStore(Database(url=location, password=password))
    store.connect()
    store.close()


def store_to_read(location: str, password: str | None = None) -> SqliteStore | PostgresqlStore:
    """Open an audit store only to read it.

    @param location: its location.
    @param password: the password for its server.
    @raise StoreError: if it cannot be read; it names the fix.
    """
    path = sqlite_file(location)
    if path is not None:
        return sqlite.open_to_read(path)
    store = PostgresqlStore(Database(url=location, password=password, read_only=True, seconds=_READ_SECONDS))
    store.connect()
    return store
