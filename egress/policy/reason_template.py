"""Reasons, with places for what a request has."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

import attrs

from egress.model.decision import DecisionRequest

# Reasons end up in header fields and in log lines.
UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MAX_VALUE: Final = 200
_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

_Value = Callable[[DecisionRequest, str], str]

# Where parameters begin, also encoded: a query, a fragment, or parameters of a segment may be secret.
_PARAMETERS: Final = re.compile("[?#;]|%(?:3f|23|3b|25)", re.IGNORECASE)
# A user name and a password in a URL that is part of a path.
_USERINFO: Final = re.compile("((?:/|:|%2f|%3a)(?:/|%2f))(?:(?!/|%2f).)*(?:@|%40)", re.IGNORECASE | re.DOTALL)


def _shown(path: str) -> str:
    """A path without what may be secret in it."""
    found = _PARAMETERS.search(path)
    if found is not None:
        end = "" if found[0] == "?" else "..."
        path = path[: found.start()] + end
    return _USERINFO.sub(r"\1REDACTED@", path)


_VALUES: Final[dict[str, tuple[_Value, str | None]]] = {
    "host": (lambda request, _: request.authority.url_host, None),
    "port": (lambda request, _: str(request.authority.port), None),
    "method": (lambda request, _: request.method, "method"),
    "path": (lambda request, _: _shown(request.path), "path"),
    "url": (lambda request, _: f"{request.origin}{_shown(request.path if request.path != '*' else '')}", "path"),
    "client": (lambda request, _: request.client.address, "client"),
    "identity": (lambda request, _: request.client.identity or "nobody", "identity"),
    "rule": (lambda _, rule: rule, None),
}


def cleaned(text: str) -> str:
    """Text on one printable line of bounded length."""
    text = UNPRINTABLE.sub("?", text[: _MAX_VALUE + 1])
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 3] + "..."


@attrs.frozen
class Reason:
    """A reason in its pieces.

    @ivar pieces: text, and the names of values, in turn.
    @ivar parts: on what of a question it depends (L{egress.model.decision.Decision.cache_key}).
    """

    pieces: tuple[str, ...]
    parts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Reason:
        """Read a reason; C{{host}} and the like stand for values, C{{{} and C{}}} for braces.

        @raise ValueError: for a placeholder that is not known.
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
                raise ValueError("a brace that is meant as such is written twice: {{ or }}")
        pieces[-1] += text[at:]
        parts = (_VALUES[name][1] for name in pieces[1::2])
        return cls(tuple(pieces), frozenset(part for part in parts if part is not None))

    def text(self, request: DecisionRequest, rule: str) -> str:
        """The reason for one request."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        return "".join(
            cleaned(_VALUES[piece][0](request, rule)) if index % 2 else piece for index, piece in enumerate(self.pieces)
        )


def _unknown(name: str) -> str:
    near = get_close_matches(name.lower(), _VALUES, 1, 0.5)
    if near:
        return f"{{{name}}} is not known here; did you mean {{{near[0]}}}?"
    return f"{{{name}}} is not known here; use {', '.join(f'{{{known}}}' for known in _VALUES)}"
