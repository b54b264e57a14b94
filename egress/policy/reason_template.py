"""Reason templates: reasons with placeholders for attributes of the request."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

import attrs

from egress.grpc.call import CALL_ATTRIBUTES, call_of
from egress.model.decision import DecisionRequest
from egress.model.quote import printable

_MAX_VALUE: Final = 200
_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

_Value = Callable[[DecisionRequest, str], str]

# The start of parameters, also percent-encoded: a query, a fragment or the parameters of a segment can be secret.
_PARAMETERS: Final = re.compile("[?#;]|%(?:3f|23|3b|25)", re.IGNORECASE)
# The user name and password of a URL that is part of a path.
_USERINFO: Final = re.compile("((?:/|:|%2f|%3a)(?:/|%2f))(?:(?!/|%2f).)*(?:@|%40)", re.IGNORECASE | re.DOTALL)


def _redacted_path(path: str) -> str:
    """Return a path without text that can be secret."""
    found = _PARAMETERS.search(path)
    if found is not None:
        end = "" if found[0] == "?" else "..."
        path = path[: found.start()] + end
    return _USERINFO.sub(r"\1REDACTED@", path)


def _grpc(request: DecisionRequest, _: str) -> str:
    call = call_of(request.method, request.path, request.headers)
    return "no gRPC method" if call is None else f"{call.service}/{call.method}"


_VALUES: Final[dict[str, tuple[_Value, tuple[str, ...]]]] = {
    "host": (lambda request, _: request.authority.url_host, ()),
    "port": (lambda request, _: str(request.authority.port), ()),
    "method": (lambda request, _: request.method, ("method",)),
    "path": (lambda request, _: _redacted_path(request.path), ("path",)),
    "url": (
        lambda request, _: f"{request.origin}{_redacted_path(request.path if request.path != '*' else '')}",
        ("path",),
    ),
    "grpc": (_grpc, tuple(sorted(CALL_ATTRIBUTES))),
    "client": (lambda request, _: request.client.address, ("client",)),
    "identity": (lambda request, _: request.client.identity or "nobody", ("identity",)),
    "rule": (lambda _, rule: rule, ()),
}


def cleaned(text: str) -> str:
    """Return the text on one printable line of bounded length."""
    text = printable(text[: _MAX_VALUE + 1])
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 3] + "..."


@attrs.frozen
class Reason:
    """A parsed reason template.

    @ivar pieces: literal text and the names of placeholders, in alternation.
    @ivar depends_on: the request attributes on which it depends (L{egress.model.decision.Decision.cache_key}).
    """

    pieces: tuple[str, ...]
    depends_on: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Reason:
        """Parse a reason template: C{{host}} and others are placeholders, C{{{} and C{}}} are literal braces.

        @raise ValueError: if a placeholder is unknown.
        """
        pieces = [""]
        at = 0
        for match in _PIECE.finditer(text):
            pieces[-1] += text[at : match.start()]
            at = match.end()
            name = match[1]
            if name is not None:
                if name not in _VALUES:
                    raise ValueError(_unknown(name))
                pieces += [name, ""]
            elif len(match[0]) == 2:
                pieces[-1] += match[0][0]
            else:
                raise ValueError("write a literal brace twice: {{ or }}")
        pieces[-1] += text[at:]
        depends_on = frozenset(attribute for name in pieces[1::2] for attribute in _VALUES[name][1])
        return cls(tuple(pieces), depends_on)

    def text(self, request: DecisionRequest, rule: str) -> str:
        """Return the reason for one request."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        return "".join(
            cleaned(_VALUES[piece][0](request, rule)) if index % 2 else piece for index, piece in enumerate(self.pieces)
        )


def _unknown(name: str) -> str:
    similar = get_close_matches(name.lower(), _VALUES, 1, 0.5)
    if similar:
        return f"{{{name}}} is not known here; did you mean {{{similar[0]}}}?"
    return f"{{{name}}} is not known here; use {', '.join(f'{{{known}}}' for known in _VALUES)}"
