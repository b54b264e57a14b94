"""Opening the audit store that an option names."""

from __future__ import annotations

from pathlib import Path

from egress.config.model import ConfigError
from egress.store.interfaces import IAuditStore, StoreError
from egress.store.sqlite import open_store, open_to_read


def sqlite_file(location: str) -> Path:
    """Return the file of a location, as C{ProxyConfig.audit_store} contains it."""
    return Path(location.removeprefix("sqlite:"))


def configured_store(location: str) -> IAuditStore:
    """Open the audit store of a configuration.

    @raise ConfigError: if it cannot be opened; it names the option and the fix.
    """
    try:
        return open_store(sqlite_file(location))
    except OSError as error:
        raise ConfigError("--audit-store", location, f"cannot be written to: {error.strerror}") from error
    except StoreError as error:
        raise ConfigError("--audit-store", location, f"cannot be written to: {error}") from error


def store_to_read(location: str) -> IAuditStore:
    """Open an audit store only to read it.

    @raise StoreError: if it cannot be read; it names the fix.
    """
    return open_to_read(sqlite_file(location))
