"""The parser of a rule's obligations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from egress.model.decision import NO_OBLIGATIONS, Header, Obligations, Verdict
from egress.policy.parse.toml_reader import Table
from egress.policy.parse.units import duration, size

KEYS: Final = ("set_headers", "remove_headers", "max_bytes", "expires_in")
_ALL: Final = frozenset(KEYS)

# Hop-by-hop fields (RFC 9110 section 7.6.1), framing fields and routing fields: the proxy manages these, and all fields
# with the prefix "proxy-".  Tests keep this set consistent with L{egress.http.obligations}: a field that is accepted
# here and rejected there would make the proxy reject every request of the rule.
RESERVED: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
        *("content-length", "host", "expect", "via"),
    }
)
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]{0,8190}[\x21-\x7e])?)?")
_SECRET: Final = re.compile(r"\$\{secret:([^{}]*)\}")
_SECRET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_FIELDS: Final = 64
_MAX_VALUES: Final = 32 * 1024
# A shorter time would load the authorizer with renewals of one exchange.
_MIN_EXPIRY: Final = 1.0


def read_obligations(table: Table, verdict: Verdict) -> Obligations:
    """Parse the obligations of a rule.

    @raise egress.policy.parse.toml_reader.PolicyError: if the obligations are not valid.
    """
    if _ALL.isdisjoint(table.table):
        return NO_OBLIGATIONS
    given = [key for key in KEYS if key in table.table]
    if verdict is Verdict.DENY:
        raise table.error(f"{given[0]!r} applies only to allowed requests; remove it from a rule that denies", given[0])
    given_fields = table.get("set_headers", dict) or {}
    fields = tuple(_field(table, name, value) for name, value in given_fields.items())
    removed = tuple(name.encode("ascii") for name in table.entries("remove_headers", str, _name))
    if len(fields) + len(removed) > _MAX_FIELDS:
        raise table.error(f"'set_headers' and 'remove_headers' have more than {_MAX_FIELDS} fields", given[0])
    if sum(len(value) for _, value in fields) > _MAX_VALUES:
        raise table.error(f"'set_headers' has values of more than {_MAX_VALUES} bytes in total", "set_headers")
    _check_duplicates(table, given_fields)
    return Obligations(
        tuple(field for field in fields if not _SECRET.search(field[1].decode("ascii"))),
        removed,
        table.read("max_bytes", size),
        table.read("expires_in", _expiry),
        tuple(field for field in fields if _SECRET.search(field[1].decode("ascii"))),
    )


def _check_duplicates(table: Table, names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower().replace("_", "-"), name)
        if other is not name:
            text = f"some servers treat it as {other!r}, which is also set; remove one of them"
            raise table.error(f"set_headers {name!r}: {text}", "set_headers", name)


def _expiry(value: object) -> float:
    seconds = duration(value)
    if seconds < _MIN_EXPIRY:
        raise ValueError("must be at least one second")
    return seconds


def _field(table: Table, name: str, value: object) -> Header:
    what = f"set_headers {name!r}"
    table.reading(_name, name, what, "set_headers", name)
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise table.error(f"{what}: the value must be a string of printable ASCII, on one line", "set_headers", name)
    for secret in _SECRET.findall(value):
        if not _SECRET_NAME.fullmatch(secret):
            raise table.error(f"{what}: not the name of a secret; write ${{secret:NAME}}", "set_headers", name)
    if "${secret:" in _SECRET.sub("", value):
        raise table.error(f"{what}: write a secret as ${{secret:NAME}}, with the closing brace", "set_headers", name)
    return name.encode("ascii"), value.encode("ascii")


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("is not the name of a header field")
    name = name.lower()
    plain = name.replace("_", "-")
    if plain in RESERVED or plain.startswith("proxy-"):
        raise ValueError("the proxy controls this field; a rule cannot set or remove it")
    return name


def secrets_in(obligations: Obligations) -> frozenset[str]:
    """Return the names of the secrets that obligations insert into header fields."""
    return frozenset(name for _, value in obligations.secret_headers for name in _SECRET.findall(value.decode("ascii")))
