"""The audit store that the options of a command find."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from egress.cli.errors import CommandFailed
from egress.cli.proxy_options import add_selected_options
from egress.config.load import load_config
from egress.config.options import BY_NAME
from egress.store.interfaces import IAuditStore
from egress.store.location import store_to_read

_OPTIONS: Final = ("audit-store", "audit-store-password-file", "ca-dir", "config")
_FIELDS: Final = ("audit_store", "audit_store_password", "ca_dir")


def location(given: argparse.Namespace, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the location of the audit store, and the password for its server."""
    arguments = {
        name: [text] for name in _OPTIONS if (text := getattr(given, name.replace("-", "_"), None)) is not None
    }
    config = load_config(arguments, environ, only=_FIELDS, default_store=True)
    location = config.audit_store
    if location is None:
        variable = BY_NAME["audit-store"].variable.name
        raise CommandFailed(f"the audit store is set to none: use --audit-store, or the variable {variable}")
    return location, config.audit_store_password


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that find the audit store."""
    add_selected_options(parser, _OPTIONS)


@contextmanager
def opened_store(given: argparse.Namespace, environ: Mapping[str, str]) -> Iterator[IAuditStore]:
    """Open the store that the options find."""
    store = store_to_read(*location(given, environ))
    try:
        yield store
    finally:
        store.close()
