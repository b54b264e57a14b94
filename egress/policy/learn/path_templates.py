"""Path templates: paths in which C{*} replaces the parts that vary between requests.

A segment becomes itself, or a pattern that matches it (L{egress.policy.match.paths.compile_path}).
"""

from __future__ import annotations

import re
from typing import Final

ANY: Final = "*"
REST: Final = "**"

# Characters without a special meaning in a pattern and to every server; and encoded slashes, as in npm package names.
_PLAIN: Final = re.compile(r"(?:[A-Za-z0-9_~!$&'()+,=:@.-]|%2F)*")
_DOTS: Final = re.compile(r"\.+")

_UUID: Final = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_DATE: Final = r"[12][0-9]{3}-[01][0-9](?:-[0-3][0-9])?(?:[T_ -][0-9:.]{4,}Z?)?"
_HEX: Final = r"(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{8,}|[0-9a-f]{16,}"
_NUMBER: Final = r"[0-9]+"
_ID: Final = re.compile(f"{_UUID}|{_DATE}|{_HEX}|{_NUMBER}")
# Letters and digits mixed without recognizable words, as in random identifiers and tokens.
_RUN: Final = re.compile(r"[A-Za-z0-9]{16,}")
_MIXED: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])")
# cus_9s6XKzkNRiz8i3, order-10021
_PREFIXED: Final = re.compile(r"([A-Za-z]{1,16}[_-])(?:[0-9]{3,}|(?=[A-Za-z]*[0-9])[A-Za-z0-9]{8,})")
_EXTENSION: Final = re.compile(r"(?<=.)((?:\.tar)?\.[A-Za-z][A-Za-z0-9]{0,7}(?:\.(?:metadata|asc|sig|sha256))?)")

# A digest, and the short prefixes of a digest by which stores distribute their content over directories.
_DIGEST: Final = re.compile(r"[0-9a-f]{32,}")
_SHARD: Final = re.compile(r"[0-9a-f]{1,4}")
_SHARDS: Final = 3


def is_plain(segment: str) -> bool:
    """Whether a segment can be written unchanged, and then matches only itself."""
    return bool(_PLAIN.fullmatch(segment)) and not _DOTS.fullmatch(segment)


def shape_of(path: str) -> tuple[str, ...]:
    """Return the segments of a path, with C{*} for identifiers.

    @param path: one interpretation (L{egress.policy.match.paths.readings}), beginning with a slash, without a query.
    """
    segments = path[1:].split("/")
    digests = [index for index, segment in enumerate(segments) if _DIGEST.fullmatch(segment)]
    found = [_segment(segment) for segment in segments]
    for index in digests:
        # The segments before a digest are prefixes of it (70/8e/hash); the segment after it is the name of one file.
        before = index - 1
        while before >= max(0, index - _SHARDS) and _is_part(segments[before]):
            found[before] = ANY
            before -= 1
        last = len(segments) - 1
        if index == last - 1 and segments[last]:
            found[last] = ANY + _extension(segments[last])
    return tuple(found)


def _is_part(segment: str) -> bool:
    return bool(_SHARD.fullmatch(segment))


def _extension(segment: str) -> str:
    for at in (match.start() for match in re.finditer(r"\.", segment)):
        if _EXTENSION.fullmatch(segment, at) and at > 0:
            return segment[at:]
    return ""


def _segment(segment: str) -> str:
    if not segment:
        return segment
    if not is_plain(segment):
        return ANY
    if _ID.fullmatch(segment):
        return ANY
    extension = _extension(segment)
    stem = segment.removesuffix(extension) if extension else segment
    if extension and _ID.fullmatch(stem):
        return ANY + extension
    prefixed = _PREFIXED.fullmatch(stem)
    if prefixed is not None:
        return prefixed[1] + ANY + extension
    if any(_MIXED.match(run) for run in _RUN.findall(stem)):
        return ANY + extension
    return segment


def pattern_of(shape: tuple[str, ...]) -> str:
    """Format a template as a path pattern."""
    # An empty segment in the middle of a path becomes *, which also matches an empty segment.
    segments = [ANY if not segment and index < len(shape) - 1 else segment for index, segment in enumerate(shape)]
    return "/" + "/".join(segments)
