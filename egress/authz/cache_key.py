"""Cache keys: the parts of a request on which a decision depends, and a hash of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

from egress.model.decision import DecisionRequest, Stage
from egress.model.message import Message

Parts = tuple[str, ...]
CacheScope = tuple[str, str, str, int]
Value = str | bytes | int | None | tuple["Value", ...]

# The total length of the names in one list, in characters.
_MAX_LENGTH: Final = 4096

# RFC 9110 section 5.6.2.
_FIELD: Final = re.compile(r"header:[!#$%&'*+.^_`|~0-9a-z-]+")


# Fields that define how to read the content.  Gateways accept C{_} for C{-} (RFC 3875).
_BODY_FIELDS: Final = frozenset({b"content-type", b"content-encoding"})


def _body(request: DecisionRequest) -> Value:
    """The content as the authorizer received it, with the fields that define how to read it.

    Withheld content is a value of its own: it differs from content that was sent and from no content.
    """
    content = None if request.body is None else sha256(request.body).digest()
    named = ((name.lower(), value) for name, value in request.headers)
    fields = tuple([field for field in named if field[0].replace(b"_", b"-") in _BODY_FIELDS])
    return (request.body_withheld, request.body_truncated, request.content_length, content, fields)


def _message(message: Message) -> Value:
    return (message.kind.value, message.direction.value, message.type, message.rule_id)


def _headers(request: DecisionRequest) -> Value:
    return tuple([(name.lower(), value) for name, value in request.headers])


def _addresses(request: DecisionRequest) -> Value:
    # The order does not matter, because resolvers rotate the addresses.
    # Addresses that were not looked up yet differ from addresses that are unknown.
    return request.addresses_withheld if request.addresses is None else tuple(sorted(map(str, request.addresses)))


# CPython calls a function of the enum module for the value of a member.
_STAGES: Final = {stage: stage.value for stage in Stage}

_READ: Final[dict[str, Callable[[DecisionRequest], Value]]] = {
    "addresses": _addresses,
    "body": _body,
    "client": lambda request: request.client.address,
    "headers": _headers,
    "identity": lambda request: request.client.identity,
    "method": lambda request: request.method,
    "path": lambda request: request.path.partition("?")[0],
    "query": lambda request: request.query,
    "sequence": lambda request: None if request.message is None else request.message.sequence,
}

ALL: Final[Parts] = tuple(_READ)
"""All parts: a decision without a cache key depends on each of them."""


def known_parts(names: Iterable[str] | None) -> Parts | None:
    """Normalize the list of parts that an authorizer names.

    @param names: C{None}: all parts.
    @return: C{None} if a part is unknown, because then it is also unknown to which requests the decision applies; also
        if the list is too long to cache.
    """
    if names is None:
        return ALL
    names = tuple(names)
    if sum(map(len, names)) > _MAX_LENGTH:
        return None
    parts = {part if part in _READ else part.lower() for part in names}
    if not all(part in _READ or _FIELD.fullmatch(part) for part in parts):
        return None
    return tuple(sorted(parts))


def scope_of(request: DecisionRequest) -> CacheScope:
    """Return the stage and the origin, which are part of every key."""
    origin = request.origin
    return (_STAGES[request.stage], origin.scheme, origin.authority.host, origin.authority.port)


def key_of(request: DecisionRequest, parts: Parts) -> bytes:
    """Return a key that is equal for two requests exactly if their stages, their origins and these parts are equal.

    Two messages also need the same protocol, direction, type and rule.

    The key is a hash, so no data of a request, which can be large or secret, stays in memory with it.  The hash input
    is Python's representation of tuples of strings, bytes and numbers.  It can be parsed back, so two different lists
    of values never have the same representation.
    """
    keys = request.cache_keys
    if keys is None:
        keys = request.cache_keys = {}
    key = keys.get(parts)
    if key is None:
        key = keys[parts] = sha256(repr(_values(request, parts)).encode("utf-8")).digest()
    return key


def _values(request: DecisionRequest, parts: Parts) -> list[Value]:
    values: list[Value] = [scope_of(request), parts]
    if request.message is not None:
        values.append(_message(request.message))
    for part in parts:
        read = _READ.get(part)
        if read is not None:
            values.append(read(request))
        else:
            name = part.removeprefix("header:").encode("ascii")
            values.append(tuple([value for field, value in request.headers if field.lower() == name]))
    return values
