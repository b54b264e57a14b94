"""On what of a question a decision depends, and what tells questions apart by that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

from egress.model.decision import DecisionRequest, Stage

Parts = tuple[str, ...]
Place = tuple[bool, str, str, int]
Pieces = list[bytes]

# RFC 9110 section 5.6.2.
_FIELD: Final = re.compile(r"header:[!#$%&'*+.^_`|~0-9a-z-]+")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _maybe(text: str | None) -> Pieces:
    """What there is not differs from what is empty."""
    return [] if text is None else [_raw(text)]


def _body(request: DecisionRequest) -> Pieces:
    """The content as the authorizer saw it: one that was withheld is another than one that was not."""
    length = b"" if request.content_length is None else b"%d" % request.content_length
    seen = b"withheld" if request.body_withheld else b"truncated" if request.body_truncated else b"whole"
    return [seen, length, *([] if request.body is None else [request.body])]


def _headers(request: DecisionRequest) -> Pieces:
    return [piece for name, value in request.headers for piece in (name.lower(), value)]


def _addresses(request: DecisionRequest) -> Pieces:
    # Resolvers give them in turns; which they are is what counts.
    return [] if request.addresses is None else [b"known", *sorted(str(each).encode() for each in request.addresses)]


_READ: Final[dict[str, Callable[[DecisionRequest], Pieces]]] = {
    "addresses": _addresses,
    "body": _body,
    "client": lambda request: [_raw(request.client.address)],
    "headers": _headers,
    "identity": lambda request: _maybe(request.client.identity),
    "method": lambda request: [_raw(request.method)],
    "path": lambda request: [_raw(request.path.partition("?")[0])],
    "query": lambda request: _maybe(request.query),
}

ALL: Final[Parts] = tuple(_READ)
"""All parts: on what a decision depends that does not say."""


def known_parts(said: Iterable[str] | None) -> Parts | None:
    """Bring the parts that an authorizer names into one form.

    @param said: C{None}: all of them.
    @return: C{None} when one is not known: then nobody can tell for which questions the decision holds.
    """
    if said is None:
        return ALL
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

    It is a hash: nothing of a request, which may be large or secret, stays in memory with it.  Each piece goes into it
    with its length before it, so that no two lists of pieces are one text.
    """
    digest = sha256()

    def add(pieces: Pieces) -> None:
        digest.update(b"%d:" % len(pieces))
        for piece in pieces:
            digest.update(b"%d:" % len(piece))
            digest.update(piece)

    add([_raw(str(piece)) for piece in place_of(request)])
    for part in parts:
        add([part.encode("ascii")])
        read = _READ.get(part)
        if read is not None:
            add(read(request))
        else:
            name = part.removeprefix("header:").encode("ascii")
            add([value for field, value in request.headers if field.lower() == name])
    return digest.digest()
