"""The application and validation of obligations on the fields of a request."""

from __future__ import annotations

import math
import re
from typing import Final

from egress.http.hop_by_hop import HOP_BY_HOP
from egress.model.budget import Budget
from egress.model.decision import Header, Headers, Obligations
from egress.model.message import obligation_fault

# The fields that a decision must not change: routing, framing, hop-by-hop fields (RFC 9110 section 7.6.1), and fields
# that describe this proxy.
UNTOUCHABLE: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"via", b"trailer", b"http2-settings"}

SECRET_MARK: Final = b"${secret:"
"""The start of a secret's name in a template; no value that is sent contains it."""

MAX_FIELDS: Final = 64
MAX_NAME: Final = 256
MAX_VALUE: Final = 16 * 1024
MAX_VALUES: Final = 32 * 1024
# With a shorter time, one exchange could overload an authorizer.
MIN_EXPIRY: Final = 1.0

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def is_value(value: bytes) -> bool:
    """Whether a value is valid in a field: one line without control characters (RFC 9110 section 5.5)."""
    return _VALUE.fullmatch(value) is not None


def canonical_name(name: bytes) -> bytes:
    """The field name in the form that the least strict recipients compare.

    Gateways that turn fields into variables (RFC 3875 section 4.1.18) ignore case and do not distinguish hyphens from
    underscores.
    """
    return name.lower().replace(b"_", b"-")


def with_obligations(fields: list[Header], obligations: Obligations) -> list[Header]:
    """Apply obligations to the fields of a request.

    First remove all fields that the obligations remove or set, in any spelling. Then add the fields that are set, so
    that a removal never affects them.
    """
    removed = affected_names(obligations)
    return [field for field in fields if canonical_name(field[0]) not in removed] + list(obligations.set_headers)


def affected_names(obligations: Obligations) -> frozenset[bytes]:
    """The canonical names of all fields that the obligations remove or set: the client's own fields of these names are
    not sent.
    """
    names = [name for name, _ in (*obligations.set_headers, *obligations.secret_headers)]
    return frozenset(map(canonical_name, [*names, *obligations.remove_headers]))


def drop_trailers(trailers: Headers, names: frozenset[bytes]) -> Headers:
    """Remove the trailers with one of the canonical names: some recipients merge trailers into the header section."""
    return tuple(field for field in trailers if canonical_name(field[0]) not in names)


def validate(obligations: object, *, templates: bool = False) -> str | None:
    """Validate obligations, which may come from third-party code.

    @param obligations: the obligations of a decision.
    @param templates: whether C{secret_headers} may still be present, with secrets to fill in.
    @return: the error, without a value; C{None} if they are valid.
    """
    if not isinstance(obligations, Obligations):
        return "not an Obligations object"
    fault = _fields_fault(obligations)
    if fault is None and any(SECRET_MARK in value for _, value in obligations.set_headers):
        # Not expanded, because a client may have written it; not sent unchanged, because it may be a mistake.
        fault = "a value contains ${secret:...}, which only setSecretHeaders can contain"
    if fault is None and not templates and obligations.secret_headers:
        fault = "a field requires a secret, but --secrets is not set"
    return (
        fault
        or _bounds_fault(obligations.max_bytes, obligations.expires_in)
        or obligation_fault(obligations.messages)
        or _budgets_fault(obligations.budgets)
    )


def _budgets_fault(budgets: object) -> str | None:
    if isinstance(budgets, tuple) and all(isinstance(each, Budget) for each in budgets):
        return None
    return "the budgets are not a tuple of Budget objects"


def _fields_fault(obligations: Obligations) -> str | None:
    if not all(
        isinstance(each, tuple)
        for each in (obligations.set_headers, obligations.secret_headers, obligations.remove_headers)
    ):
        return "the fields are not a tuple"
    fields = (*obligations.set_headers, *obligations.secret_headers)
    if len(fields) + len(obligations.remove_headers) > MAX_FIELDS:
        return f"more than {MAX_FIELDS} fields to set or remove"
    for pair in fields:
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, bytes) for part in pair)):
            return "a field to set is not a pair of name and value"
    names = [name for name, _ in fields]
    for name in [*names, *obligations.remove_headers]:
        fault = _name_fault(name)
        if fault is not None:
            return fault
    if len(set(map(canonical_name, names))) < len(names):
        return "a field is set twice"
    return _values_fault([value for _, value in fields])


def _name_fault(name: object) -> str | None:
    if not isinstance(name, bytes) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
        return "a field name is invalid"
    canonical = canonical_name(name)
    if canonical in UNTOUCHABLE or canonical.startswith(b"proxy-"):
        return f"the field {canonical.decode('ascii')} cannot be set or removed"
    return None


def _values_fault(values: list[bytes]) -> str | None:
    if any(len(value) > MAX_VALUE for value in values) or sum(map(len, values)) > MAX_VALUES:
        return f"the values exceed {MAX_VALUE} bytes each, or {MAX_VALUES} bytes in total"
    if not all(map(is_value, values)):
        return "a value contains control characters"
    return None


def _bounds_fault(max_bytes: object, expires_in: object) -> str | None:
    if max_bytes is not None and (not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 0):
        return "max_bytes is not a non-negative integer"
    if expires_in is None:
        return None
    if not isinstance(expires_in, (int, float)) or isinstance(expires_in, bool) or not math.isfinite(expires_in):
        return "expires_in is not a number"
    if expires_in < MIN_EXPIRY:
        return f"expires_in is less than {MIN_EXPIRY:g} s"
    return None
