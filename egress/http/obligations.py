"""What a decision does to the fields of a request on its way out, and which terms are none."""

from __future__ import annotations

import math
import re
from typing import Final

from egress.http.hop_by_hop import HOP_BY_HOP
from egress.model.decision import Header, Headers, Obligations

# What a decision cannot touch: where a request goes, where it ends, what concerns one hop only (RFC 9110 section 7.6.1)
# and what this proxy says of itself.
UNTOUCHABLE: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"via", b"trailer", b"http2-settings"}

SECRET_MARK: Final = b"${secret:"
"""The start of a secret's name in a template; no value that is sent contains it."""

MAX_FIELDS: Final = 64
MAX_NAME: Final = 256
MAX_VALUE: Final = 16 * 1024
MAX_VALUES: Final = 32 * 1024
# Less would have one exchange keep an authorizer busy.
MIN_EXPIRY: Final = 1.0

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def is_value(value: bytes) -> bool:
    """Whether something can stand in a field: one line without control characters (RFC 9110 section 5.5)."""
    return _VALUE.fullmatch(value) is not None


def canonical_name(name: bytes) -> bytes:
    """A field name as the most careless recipient tells it from others.

    Gateways that make variables of fields (RFC 3875 section 4.1.18) know neither case nor hyphens from underscores.
    """
    return name.lower().replace(b"_", b"-")


def with_obligations(fields: list[Header], terms: Obligations) -> list[Header]:
    """Change the fields of a request.

    First all fields go whose names the terms remove or set, in whatever spelling; then those are added that are set, so
    that a removal takes away nothing of what the terms set themselves.
    """
    gone = affected_names(terms)
    return [field for field in fields if canonical_name(field[0]) not in gone] + list(terms.set_headers)


def affected_names(terms: Obligations) -> frozenset[bytes]:
    """The plain names of all fields that the terms are about: a client says nothing more under them."""
    names = [name for name, _ in (*terms.set_headers, *terms.secret_headers)]
    return frozenset(map(canonical_name, [*names, *terms.remove_headers]))


def drop_trailers(trailers: Headers, names: frozenset[bytes]) -> Headers:
    """Leave out the trailers with one of the plain names: some recipients merge trailers into the fields."""
    return tuple(field for field in trailers if canonical_name(field[0]) not in names)


def validate(terms: object, *, templates: bool = False) -> str | None:
    """Find what is wrong with terms, which somebody else may have made.

    @param templates: whether C{secret_headers} may still be there, with secrets to fill in.
    @return: C{None} when nothing is; otherwise what, without a value.
    """
    if not isinstance(terms, Obligations):
        return "terms that are none"
    fault = _fields_fault(terms)
    if fault is None and any(SECRET_MARK in value for _, value in terms.set_headers):
        # It is sent neither expanded, since a client may have written it, nor as it is, since it may be a mistake.
        fault = "a value with ${secret:...} in a field that is no template (use setSecretHeaders for secrets)"
    if fault is None and not templates and terms.secret_headers:
        fault = "a field with a secret, which nothing has filled in (see --secrets)"
    return fault or _bounds_fault(terms.max_bytes, terms.expires_in)


def _fields_fault(terms: Obligations) -> str | None:
    if not all(isinstance(each, tuple) for each in (terms.set_headers, terms.secret_headers, terms.remove_headers)):
        return "fields that are no tuple"
    fields = (*terms.set_headers, *terms.secret_headers)
    if len(fields) + len(terms.remove_headers) > MAX_FIELDS:
        return f"more than {MAX_FIELDS} fields to set or remove"
    for pair in fields:
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, bytes) for part in pair)):
            return "a field to set that is no name and value"
    names = [name for name, _ in fields]
    for name in [*names, *terms.remove_headers]:
        fault = _name_fault(name)
        if fault is not None:
            return fault
    if len(set(map(canonical_name, names))) < len(names):
        return "a field to set twice"
    return _values_fault([value for _, value in fields])


def _name_fault(name: object) -> str | None:
    if not isinstance(name, bytes) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
        return "a field name that is none"
    plain = canonical_name(name)
    if plain in UNTOUCHABLE or plain.startswith(b"proxy-"):
        return f"the field {plain.decode('ascii')}, which no decision can touch"
    return None


def _values_fault(values: list[bytes]) -> str | None:
    if any(len(value) > MAX_VALUE for value in values) or sum(map(len, values)) > MAX_VALUES:
        return f"values over {MAX_VALUE} bytes, or {MAX_VALUES} together"
    if not all(map(is_value, values)):
        return "a value with control characters"
    return None


def _bounds_fault(max_bytes: object, expires_in: object) -> str | None:
    if max_bytes is not None and (not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes < 0):
        return "a number of bytes that is none"
    if expires_in is None:
        return None
    if not isinstance(expires_in, (int, float)) or isinstance(expires_in, bool) or not math.isfinite(expires_in):
        return "a time that is none"
    if expires_in < MIN_EXPIRY:
        return f"a time under {MIN_EXPIRY:g} s"
    return None
