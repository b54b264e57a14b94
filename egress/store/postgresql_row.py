"""The rows of the audit store in PostgreSQL, as JSON, in which a spool can contain them, too."""

from __future__ import annotations

import json
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from egress.model.record import ExchangeRecord
from egress.store.postgresql_schema import ENCODED
from egress.store.postgresql_text import vector
from egress.store.row import INSERTED, row_of

_encode = json.JSONEncoder(separators=(",", ":")).encode
_REASON, _URL, _RULE = (INSERTED.index(name) for name in ("reason", "url", "rule_id"))
_ADDRESS = INSERTED.index("client_address")


def storable(value: Any) -> Any:
    """Return a value without the character that no text in PostgreSQL can contain."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value


def encode_row(record: ExchangeRecord) -> bytes:
    """Return the row of a record as a line of JSON in ASCII, with a redacted URL."""
    row = row_of(record)
    line = _line(row)
    # A text can also contain a backslash and these letters.
    return _line(tuple(map(storable, row))) if b"\\u0000" in line else line


def _line(row: tuple[Any, ...]) -> bytes:
    words = vector((row[_REASON], row[_URL], row[_RULE]))
    columns = zip(ENCODED, (*row, inet_text(row[_ADDRESS]), words), strict=True)
    # A column that is left out is NULL.
    return _encode({name: value for name, value in columns if value is not None}).encode("ascii") + b"\n"


@lru_cache(1024)
def inet_text(address: str) -> str | None:
    """Return an address as PostgreSQL accepts it; C{None} for other texts, such as the name of a socket."""
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return None
