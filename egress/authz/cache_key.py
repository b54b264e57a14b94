"""On what of a question a decision depends, and what tells questions apart by that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

from egress.model.decision import DecisionRequest, Stage

Parts = tuple[str, ...]
Place = tuple[bool, str, str, int]
Value = str | bytes | int | None | tuple["Value", ...]

# Of all parts of a list together, in characters.
_MAX_LENGTH: Final = 4096

# RFC 9110 section 5.6.2.
_FIELD: Final = re.compile(r"header:[!#$%&'*+.^_`|~0-9a-z-]+")


# What says how content is read; gateways take C{_} for C{-} (RFC 3875).
_ABOUT_BODY: Final = frozenset({b"content-type", b"content-encoding"})


def _body(request: DecisionRequest) -> Value:
    """The content as the authorizer saw it, with the fields that say how it is read.

    One that was withheld is another than one that was not.
    """
    content = None if request.body is None else sha256(request.body).digest()
    named = ((name.lower(), value) for name, value in request.headers)
    about = tuple([field for field in named if field[0].replace(b"_", b"-") in _ABOUT_BODY])
    return (request.body_withheld, request.body_truncated, request.content_length, content, about)


def _headers(request: DecisionRequest) -> Value:
    return tuple([(name.lower(), value) for name, value in request.headers])


def _addresses(request: DecisionRequest) -> Value:
    # Resolvers give them in turns; which they are is what counts.
    # Addresses that were not looked up yet are another thing than such as nobody can tell.
    return request.addresses_withheld if request.addresses is None else tuple(sorted(map(str, request.addresses)))


_READ: Final[dict[str, Callable[[DecisionRequest], Value]]] = {
    "addresses": _addresses,
    "body": _body,
    "client": lambda request: request.client.address,
    "headers": _headers,
    "identity": lambda request: request.client.identity,
    "method": lambda request: request.method,
    "path": lambda request: request.path.partition("?")[0],
    "query": lambda request: request.query,
}

ALL: Final[Parts] = tuple(_READ)
"""All parts: on what a decision depends that does not say."""


def known_parts(said: Iterable[str] | None) -> Parts | None:
    """Bring the parts that an authorizer names into one form.

    @param said: C{None}: all of them.
    @return: C{None} when one is not known: then nobody can tell for which questions the decision holds; also when the
        list is longer than is worth keeping.
    """
    if said is None:
        return ALL
    said = tuple(said)
    if sum(map(len, said)) > _MAX_LENGTH:
        return None
    parts = {part if part in _READ else part.lower() for part in said}
    if not all(part in _READ or _FIELD.fullmatch(part) for part in parts):
        return None
    return tuple(sorted(parts))


def place_of(request: DecisionRequest) -> Place:
    """What is part of every key: the stage and the origin."""
    origin = request.origin
    return (request.stage is Stage.TUNNEL, origin.scheme, origin.authority.host, origin.authority.port)


def key_of(request: DecisionRequest, parts: Parts) -> bytes:
    """Give what is equal for questions that are equal in the stage, the origin and these parts, and for no others.

    It is a hash: nothing of a request, which may be large or secret, stays in memory with it.  What goes into it is how
    Python writes tuples of texts, bytes and numbers, which can be read back: no two lists of values are one text.
    """
    values: list[Value] = [place_of(request), parts]
    for part in parts:
        read = _READ.get(part)
        if read is not None:
            values.append(read(request))
        else:
            name = part.removeprefix("header:").encode("ascii")
            values.append(tuple([value for field, value in request.headers if field.lower() == name]))
    return sha256(repr(values).encode("utf-8")).digest()
