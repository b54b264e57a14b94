"""Request paths as servers may read them.

Servers disagree about encoded slashes and dots, doubled slashes, backslashes and path parameters.  A rule must not be
slipped past by a spelling that the origin reads differently, so a path is compared in every reading that is common.
"""

from __future__ import annotations

import re

_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PARAMETERS = re.compile(r";[^/]*")
_SLASHES = re.compile(r"//+")
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")


def _decode_unreserved(path: str) -> str:
    """Decode what means the same encoded or not (RFC 3986 section 6.2.2.2), and write the rest in upper case."""

    def replace(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16))
        return char if char in _UNRESERVED else match[0].upper()

    return _ENCODED.sub(replace, path)


def _decode(path: str) -> str:
    return _ENCODED.sub(lambda match: chr(int(match[1], 16)), path)


def remove_dot_segments(path: str) -> str:
    """Resolve C{.} and C{..} (RFC 3986 section 5.2.4)."""
    kept: list[str] = []
    segments = path.split("/")
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            if len(kept) > 1:
                kept.pop()
            if last:
                kept.append("")
        elif segment == ".":
            if last:
                kept.append("")
        else:
            kept.append(segment)
    return "/".join(kept) or "/"


def readings(path: str) -> tuple[str, ...]:
    """Every common reading of a path, without its query; the literal one first.

    @return: one reading, when all agree.
    """
    path = path.partition("?")[0]
    if _PLAIN.fullmatch(path):
        return (path,)
    literal = _decode_unreserved(path)
    found = [remove_dot_segments(literal), remove_dot_segments(_SLASHES.sub("/", literal))]
    decoded = path
    for _ in range(3):
        decoded = _decode(decoded)
        slashed = decoded.replace("\\", "/")
        for reading in (decoded, slashed, _PARAMETERS.sub("", slashed), slashed.partition("\x00")[0]):
            found += [remove_dot_segments(reading), remove_dot_segments(_SLASHES.sub("/", reading))]
    return tuple(dict.fromkeys(found))
