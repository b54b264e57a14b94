"""Request paths in all the ways in which servers interpret them, and path patterns.

Servers disagree about encoded slashes and dots, doubled slashes, backslashes, path parameters and more.  A spelling
that the origin interprets differently must not bypass a rule, so a path is compared in every interpretation that some
server is known to use.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from egress.policy.match.work_budget import PER_CALL, TooMuchWork, WorkBudget

# Legitimate paths have fewer interpretations.
MAX_READINGS: Final = 32

_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~-](?:[A-Za-z0-9._~-]*[A-Za-z0-9_~-])?)*/?")
_RUN: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
# Characters that have a special meaning to some server after decoding.
_STRUCTURAL: Final = {ord(char): f"%{ord(char):02X}" for char in "\0/\\%;?#"}
# Old Windows servers write U+002F as "%u002F".
_WIDE: Final = re.compile(r"%[uU]([0-9A-Fa-f]{4})")
# Overlong UTF-8: ASCII in two or three bytes; surrogates represent bytes that are not UTF-8.
_OVERLONG: Final = re.compile(r"(?:[\udcc0\udcc1]|\udce0[\udc80-\udc9f])[\udc80-\udcbf]")
_SLASHES: Final = re.compile(r"//+")
_PARAMETERS: Final = re.compile(r";[^/]*")
# Whitespace, control characters or dots at the end of a segment; a segment that consists of dots is a different case.
_BLANK: Final = r"\s\x00-\x1f\x7f\udc85\udca0"
_BLANKS: Final = re.compile(f"(?<![{_BLANK}])[{_BLANK}]+(?=/|\\Z)")
_DOTS: Final = re.compile(r"(?<=[^/.])\.+(?=/|\Z)")


def canonical(path: str) -> str:
    """Decode the escapes that do not change the meaning (RFC 3986 section 6.2.2.2), and a few more.

    Only characters that could change the structure of the path stay encoded, in upper case.
    """
    return _RUN.sub(lambda run: _text(run).translate(_STRUCTURAL), path)


def _text(run: re.Match[str]) -> str:
    return bytes.fromhex(run[0].replace("%", "")).decode("utf-8", "surrogateescape")


def _decoded(path: str) -> str:
    return _RUN.sub(_text, path)


def _from_wide(path: str) -> str:
    return _WIDE.sub(lambda match: chr(int(match[1], 16)), path)


def _from_overlong(path: str) -> str:
    def replace(match: re.Match[str]) -> str:
        lead, last = ord(match[0][-2]), ord(match[0][-1])
        return chr((lead & 0x1F) << 6 | last & 0x3F)

    return _OVERLONG.sub(replace, path)


def _compatible(path: str) -> str:
    """Replace compatibility characters, such as full-width slashes and dots (Unicode, NFKC)."""
    return path if path.isascii() else unicodedata.normalize("NFKC", path)


def _before_nul(path: str) -> str:
    return path.partition("\0")[0]


def _before_query(path: str) -> str:
    return path.partition("?")[0]


def _before_fragment(path: str) -> str:
    return path.partition("#")[0]


def _forward_slashes(path: str) -> str:
    return path.replace("\\", "/")


def _without_parameters(path: str) -> str:
    return _PARAMETERS.sub("", path)


def _single_slashes(path: str) -> str:
    return _SLASHES.sub("/", path)


def _without_blanks(path: str) -> str:
    return _BLANKS.sub("", path)


def _without_last_dots(path: str) -> str:
    return _DOTS.sub("", path)


def remove_dot_segments(path: str) -> str:
    """Resolve C{.} and C{..} (RFC 3986 section 5.2.4)."""
    if "/." not in path:
        return path
    resolved: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == "..":
            if len(resolved) > 1:
                resolved.pop()
        elif segment != ".":
            resolved.append(segment)
    if segments[-1] in (".", ".."):
        resolved.append("")
    return "/".join(resolved)


# Each transformation, the text that triggers it, and the steps of work per occurrence.
_CHANGES: Final[tuple[tuple[Callable[[str], str], str, int], ...]] = (
    (canonical, "%", 800),
    (_decoded, "%", 800),
    (_from_wide, "%", 800),
    (_before_nul, "\0", 0),
    (_before_query, "?", 0),
    (_before_fragment, "#", 0),
    (_forward_slashes, "\\", 20),
    (_without_parameters, ";", 300),
    (_without_last_dots, ".", 300),
    (_single_slashes, "//", 300),
    (remove_dot_segments, "/.", 300),
)
# Transformations of paths that contain a space or characters other than printable ASCII.
_UNUSUAL: Final[tuple[tuple[Callable[[str], str], int], ...]] = (
    (_from_overlong, 60),
    (_compatible, 300),
    (_without_blanks, 150),
)
# Steps of work: per interpretation; per character of an interpretation; per character in each transformation.
_PER_READING: Final = 4000
_PER_CHARACTER: Final = 12
_PER_PASS: Final = 25


def readings(path: str, work: WorkBudget) -> tuple[str, ...]:
    """Return every interpretation of a path, without its query: all results of all transformations in any order.

    @return: the interpretations; the literal path comes first.
    @raise TooMuchWork: if there are more than L{MAX_READINGS}, or if their total length exceeds the work budget.
    """
    path = _before_query(path)
    if _PLAIN.fullmatch(path):
        return (path,)
    cause = f"its path of {len(path):,} characters can be read in many ways"
    work.spend(800 * path.count("%"), cause)
    found = dict.fromkeys((canonical(path),))
    waiting = list(found)
    while waiting:
        text = waiting.pop()
        work.spend(_PER_READING + _PER_CHARACTER * len(text), cause)
        for other in _changed(text, work, cause):
            if other not in found:
                if len(found) == MAX_READINGS:
                    raise TooMuchWork(f"its path can be read in more than {MAX_READINGS} ways")
                found[other] = None
                waiting.append(other)
    return tuple(found)


def _changed(text: str, work: WorkBudget, cause: str) -> Iterator[str]:
    for change, trigger, steps in _CHANGES:
        if trigger in text:
            work.spend(steps * text.count(trigger) + _PER_PASS * len(text), cause)
            yield change(text)
    if " " in text or not (text.isascii() and text.isprintable()):
        for unusual, steps in _UNUSUAL:
            work.spend(steps * len(text), cause)
            yield unusual(text)


# The ambiguous parts of paths, with their names in reasons.
_CALLED: Final = (
    ("%2F", re.compile("%2f", re.IGNORECASE)),
    ("%5C", re.compile("%5c", re.IGNORECASE)),
    ("%25", re.compile("%25")),
    ("an encoded ;, ?, # or NUL", re.compile("%(?:3b|3f|23|00)", re.IGNORECASE)),
    ("\\", re.compile(r"\\")),
    ("//", re.compile("//")),
    (";", re.compile(";")),
    (". or .. as a segment", re.compile(r"/(?:\.|%2e){1,2}(?:/|\Z)", re.IGNORECASE)),
)


def ambiguity(path: str) -> str:
    """Name the part of a path that servers interpret differently, without other text of the path.

    @param path: the path as sent.
    """
    path = _before_query(path)
    return next((name for name, expression in _CALLED if expression.search(path)), "characters")


class _Glob:
    """A compiler of a path pattern into a regular expression that takes linear time.

    Each wildcard extends to the first position at which the next part matches, without backtracking.  This finds a
    match if there is one: the text between two C{**} spans a fixed number of segments, so the earliest end is optimal.
    """

    def __init__(self) -> None:
        self._groups = 0

    def _once(self, expression: str) -> str:
        """Wrap an expression so that it does not backtrack: an atomic group, which C{re} supports from Python 3.11."""
        self._groups += 1
        name = f"g{self._groups}"
        return f"(?=(?P<{name}>{expression}))(?P={name})"

    def segment(self, pattern: str) -> str:
        """Compile one segment, in which C{*} matches any characters."""
        first, *rest = (re.escape(canonical(part)) for part in pattern.split("*"))
        if not rest:
            return first
        *middle, last = rest
        between = "".join(self._once(f"[^/]*?{part}") for part in middle)
        return f"{first}{between}[^/]*{last}"

    def block(self, segments: list[str]) -> str:
        """Compile consecutive segments."""
        return "".join(f"/{self.segment(segment)}" for segment in segments)

    def path(self, segments: list[str]) -> str:
        """Compile a whole path, in which C{**} matches any number of segments."""
        blocks: list[list[str]] = [[]]
        for segment in segments:
            if segment == "**":
                blocks.append([])
            else:
                blocks[-1].append(segment)
        first, *rest = blocks
        expression = self.block(first)
        for index, block in enumerate(rest):
            if index < len(rest) - 1:
                expression += self._once(f"(?:/[^/]*)*?{self.block(block)}(?=/|\\Z)")
            elif block:
                expression += f"(?:/[^/]*)*?{self.block(block)}"
            else:
                expression += "(?:/.*)?"
        return expression


_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@attrs.frozen
class PathPattern:
    """A compiled path pattern.

    @ivar text: the pattern as written.
    @ivar broad: whether case and a trailing slash are ignored, for a denial.
    @ivar fullmatch: returns C{None} for a path that does not match.
    @ivar prefix: the common prefix of all paths that match; in lower case if C{broad}.
    """

    text: str
    broad: bool
    fullmatch: Callable[[str], object] = attrs.field(eq=False, repr=False)
    prefix: str = attrs.field(eq=False, repr=False)

    def steps(self, path: str, lowered: str) -> int:
        """Return the maximum number of steps of work to match a path.

        @param path: one interpretation of a path (L{readings}).
        @param lowered: the path in lower case.
        """
        begins = (lowered if self.broad else path).startswith(self.prefix) or not path.isascii()
        return PER_CALL + (_PER_COMPARED * len(path) if begins else 0)


_PER_COMPARED: Final = 40


def compile_path(pattern: str, *, broad: bool) -> PathPattern:
    """Compile a path pattern: C{*} matches anything within a segment, C{**} any number of whole segments.

    @param pattern: the pattern as written in the policy.
    @param broad: whether to ignore case and a trailing slash, as many servers do.
    @raise ValueError: if the pattern is not valid, or can never match.
    """
    if not pattern.startswith("/"):
        raise ValueError("a path pattern must start with /")
    if "?" in pattern or "#" in pattern:
        raise ValueError("a pattern matches only the path; remove ? and #, and the text after them")
    if _ESCAPE.search(pattern):
        raise ValueError("write a literal % as %25")
    segments = pattern[1:].split("/")
    if "" in segments[:-1] or any(canonical(segment) in (".", "..") for segment in segments):
        raise ValueError("empty segments, . and .. never match; remove them")
    if any("**" in segment and segment != "**" for segment in segments):
        raise ValueError("** must be a whole segment; within a segment, use *")
    if broad and segments[-1] == "":
        segments.pop()
    expression = _Glob().path(segments) + ("/?" if broad else "")
    compiled = re.compile(expression, re.DOTALL | (re.IGNORECASE if broad else 0))
    prefix = canonical("/" + "/".join(segments)).partition("*")[0]
    # "/a/**" also matches "/a".
    prefix = prefix.rstrip("/")
    return PathPattern(pattern, broad, compiled.fullmatch, prefix.lower() if broad else prefix)
