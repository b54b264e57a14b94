"""The request-target of a request line, in its four forms (RFC 9112 section 3.2)."""

from __future__ import annotations

import enum
import re
from collections.abc import Container
from typing import Final

import attrs

from egress.model.authority import DEFAULT_PORTS, Authority
from egress.model.errors import InvalidTarget


class TargetForm(enum.Enum):
    """Which of the four forms a request-target has."""

    ORIGIN = "origin-form"
    ABSOLUTE = "absolute-form"
    AUTHORITY = "authority-form"
    ASTERISK = "asterisk-form"


@attrs.frozen
class RequestTarget:
    """A parsed request-target.

    @ivar path: path and query, byte for byte as they were sent; C{"*"} in asterisk-form, empty in authority-form.
    @ivar scheme: only in absolute-form.
    @ivar authority: only in absolute- and authority-form.
    """

    form: TargetForm
    path: str
    scheme: str | None = None
    authority: Authority | None = None


# RFC 3986 has no control characters, spaces, backslashes or fragments here; what a parser behind us would read
# differently is refused rather than guessed at.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\#]")


# An https URL is asked for with CONNECT, so that it stays encrypted up to us.
_IN_CLEAR_TEXT: Final = frozenset({"http"})


def parse_request_target(method: str, raw: bytes, schemes: Container[str] = _IN_CLEAR_TEXT) -> RequestTarget:
    """Parse the request-target that came with C{method}.

    @param schemes: those of absolute-form; each has a default port.
    @raise InvalidTarget: for anything that is not exactly one of the four forms, that carries credentials, or that has
        another scheme.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidTarget("the request-target is not valid UTF-8") from error
    if not text or _FORBIDDEN.search(text):
        raise InvalidTarget("the request-target has a character that must be percent-encoded")
    if method == "CONNECT":
        return RequestTarget(TargetForm.AUTHORITY, "", authority=Authority.parse(text))
    if text[0] == "/":
        return RequestTarget(TargetForm.ORIGIN, text)
    if text == "*":
        if method != "OPTIONS":
            raise InvalidTarget("the request-target * is for OPTIONS alone")
        return RequestTarget(TargetForm.ASTERISK, "*")
    return _parse_absolute(method, text, schemes)


def _parse_absolute(method: str, text: str, schemes: Container[str]) -> RequestTarget:
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise InvalidTarget("the request-target is neither a path nor an absolute URL")
    scheme = scheme.lower()
    if scheme not in schemes:
        raise InvalidTarget(f"the scheme {scheme!r} cannot be asked for in clear text; use CONNECT")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority = Authority.parse(rest[:end], DEFAULT_PORTS[scheme])
    path = rest[end:]
    if not path:
        # RFC 9112 section 3.2.4: an OPTIONS without a path is about the server as a whole.
        path = "*" if method == "OPTIONS" else "/"
    elif path[0] == "?":
        path = "/" + path
    return RequestTarget(TargetForm.ABSOLUTE, path, scheme, authority)
