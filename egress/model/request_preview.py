"""Previews of requests for approvers: bounded, without secrets, and on as many lines as the content has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from egress.model.decision import DecisionRequest, Header
from egress.model.redact import REDACTED, hides_secret, is_secret_key, redact_url

MAX_SHOWN: Final = 64 * 1024
"""The length of content above which an approver sees no content, because it is not collected for a preview."""

_MAX_CONTENT: Final = 8192
_MAX_FIELDS: Final = 64
_MAX_VALUE: Final = 500
_MAX_NAME: Final = 100

# The parts of JSON text.  An unfinished string is the end of truncated content.
_JSON_PART: Final = re.compile(r'"((?:[^"\\]|\\.)*)("|\\?\Z)|[{}\[\],:]|\s+|[^"{}\[\],:\s]+', re.DOTALL)
_OPENED: Final = frozenset("{[")
_CLOSED: Final = frozenset("}]")
_NAMED_PART: Final = re.compile(
    r'(content-disposition:[^\r\n]*\bname="?([^";\r\n]*)[^\r\n]*\r?\n(?:[^\r\n]+\r?\n){0,8}\r?\n)(.*?)(?=\r?\n--|\Z)',
    re.IGNORECASE | re.DOTALL,
)
_WORD: Final = re.compile(r"(?:bearer +)?[^\s\"'<>&,;()\[\]{}]+", re.IGNORECASE)
_FORM: Final = "application/x-www-form-urlencoded"


def preview_of(request: DecisionRequest, decoded: bytes | None = None) -> dict[str, Any]:
    """Return the header fields and the content of a request, for display.

    @param decoded: the content without its content codings, if it has any and could be decoded.
    @return: JSON: C{headers}, pairs of name and value; C{moreHeaders}, the number of the others; and C{content}, which
        is C{None} if there is no content, or if it was not collected.  Its members are C{text} (C{None}: not text),
        C{type}, and C{truncated}, whether the content is longer than the text.
    """
    return {
        "headers": [list(display_field(*field)) for field in request.headers[:_MAX_FIELDS]],
        "moreHeaders": max(0, len(request.headers) - _MAX_FIELDS),
        "content": None if not request.body else _content(request, decoded),
    }


def display_field(name: bytes, value: bytes) -> tuple[str, str]:
    """Return a header field for display: redacted, bounded, and without control characters."""
    text = _text(name)
    return _cut(text, _MAX_NAME), _cut(redact_field(text, _text(value)), _MAX_VALUE)


def _content(request: DecisionRequest, decoded: bytes | None) -> dict[str, Any]:
    media = _field(request.headers, b"content-type")
    is_coded = decoded is None and _field(request.headers, b"content-encoding") not in ("", "identity")
    body = request.body or b"" if decoded is None else decoded
    # A character of UTF-8 has up to four bytes; the rest of the content is not decoded.
    head = body[: 4 * _MAX_CONTENT]
    text = None if is_coded else _decoded(head, len(body))
    shown = None if text is None else redact_content(text, media)
    return {
        "type": _cut(media, _MAX_NAME),
        "text": None if shown is None else _lines(shown[:_MAX_CONTENT]),
        "truncated": request.body_truncated
        or len(head) < len(body)
        or (shown is not None and len(shown) > _MAX_CONTENT),
    }


def _field(headers: Iterable[Header], name: bytes) -> str:
    return next((_text(value) for one, value in headers if one.lower() == name), "")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _cut(text: str, most: int) -> str:
    text = _lines(text, "")
    return text if len(text) <= most else f"{text[:most]}..."


def _lines(text: str, permitted: str = "\n\t") -> str:
    """Return text without characters that control a terminal or reorder text."""
    if text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join(char if char.isprintable() or char in permitted else "\N{REPLACEMENT CHARACTER}" for char in text)


def _decoded(head: bytes, length: int) -> str | None:
    """Return content as text; C{None} if it is not text."""
    # The last character of a beginning may be incomplete.
    for end in range(len(head), max(-1, len(head) - 4), -1):
        try:
            text = head[:end].decode("utf-8")
        except UnicodeDecodeError:
            if len(head) == length:
                return None
            continue
        return None if "\0" in text else text
    return None


# -- secrets


def redact_field(name: str, value: str) -> str:
    """Redact the secrets of a header field.  The scheme of credentials remains: C{Bearer REDACTED}."""
    if is_secret_key(name):
        scheme, space, _ = value.strip().partition(" ")
        is_scheme = name.lower().endswith("authorization") and space and scheme.isalpha()
        return f"{scheme} {REDACTED}" if is_scheme else REDACTED
    return _redact_words(value)


def redact_content(text: str, media: str = "") -> str:
    """Redact the secrets of content: values of JSON, of forms, of multipart content, and words that look like tokens.

    @param text: the content, or its beginning.
    @param media: the value of C{Content-Type}.
    """
    kind = media.partition(";")[0].strip().lower()
    if kind == _FORM:
        return redact_url(f"?{text}")[1:]
    if kind.startswith("multipart/"):
        text = _NAMED_PART.sub(_redact_part, text)
    elif "json" in kind or text.lstrip()[:1] in _OPENED:
        text = _redact_json(text)
    return _redact_words(text)


def _redact_part(match: re.Match[str]) -> str:
    return match[1] + (REDACTED if is_secret_key(match[2]) else match[3])


def _redact_words(text: str) -> str:
    return _WORD.sub(_redact_word, text)


def _redact_word(match: re.Match[str]) -> str:
    word = match[0]
    if "://" in word:
        return redact_url(word)
    return REDACTED if hides_secret(word) else word


def _redact_json(text: str) -> str:
    """Replace the value after each secret key.  The text need not be complete or valid, and is otherwise unchanged."""
    parts = [(match[0], match[1]) for match in _JSON_PART.finditer(text)]
    found: list[str] = []
    at = 0
    while at < len(parts):
        part, string = parts[at]
        at += 1
        found.append(part)
        if string is None or not is_secret_key(string):
            continue
        colon = _after_blank(parts, at)
        if colon == len(parts) or parts[colon][0] != ":":
            continue
        value = _after_blank(parts, colon + 1)
        found += [part for part, _ in parts[at:value]]
        at = _end_of_value(parts, value)
        if at > value:
            found.append(f'"{REDACTED}"')
    return "".join(found)


def _after_blank(parts: list[tuple[str, str | None]], at: int) -> int:
    while at < len(parts) and parts[at][0].isspace():
        at += 1
    return at


def _end_of_value(parts: list[tuple[str, str | None]], at: int) -> int:
    depth = 0
    while at < len(parts):
        part = parts[at][0]
        if part in _OPENED:
            depth += 1
        elif part in _CLOSED or part in ",:":
            if depth == 0:
                return at
            depth -= part in _CLOSED
        at += 1
        if depth == 0:
            return at
    return at
