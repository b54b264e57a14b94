"""The secret with which a proxy seals the grants in its audit store."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from egress.config.model import ConfigError, ProxyConfig
from egress.config.shared import MIN_KEY
from egress.runtime.private_file import ExposedFile, read_secret
from egress.runtime.safe_files import Folder, heir_of, make_private
from egress.store.location import sqlite_file

KEY_FILE: Final = "grants.key"
"""The name of the file in the state directory of a proxy without C{--shared}."""

_KEY_BYTES: Final = 32


def keeps_grants(config: ProxyConfig) -> bool:
    """Return whether the audit store keeps grants: only one on a server does."""
    return config.audit_store is not None and sqlite_file(config.audit_store) is None


def grant_secret(config: ProxyConfig) -> bytes:
    """Return the secret of the replicas, or that of this proxy, which the first call creates.

    @param config: a configuration whose audit store keeps grants.
    @raise ConfigError: if the file cannot be read or created.
    """
    if config.shared.key is not None:
        return config.shared.key
    path = config.ca_dir / KEY_FILE
    try:
        secret = read_secret(path)
        if secret is None:
            _create(path)
            secret = read_secret(path) or b""
    except ExposedFile as error:
        raise ConfigError("--ca-dir", "", error.reason) from error
    except OSError as error:
        reason = f"{path} cannot be read or created: {error.strerror}"
        raise ConfigError("--ca-dir", "", reason) from error
    if len(secret) < MIN_KEY:
        raise ConfigError("--ca-dir", "", f"{path} is not a key: delete it, then stored grants do not apply any more")
    return secret


def _create(path: Path) -> None:
    """Write a key, unless another process has done so."""
    make_private(path.parent)
    with Folder(path.parent) as folder:
        temporary = folder.create(path.name, os.urandom(_KEY_BYTES), 0o600, heir_of(folder.state))
        try:
            with suppress(FileExistsError):
                folder.link(temporary, path.name)
        finally:
            folder.remove(temporary)
        folder.sync()
