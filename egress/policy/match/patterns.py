"""Patterns for values: C{*} in plain text, or regular expressions with a prefix.

Values come from untrusted clients, so each pattern takes time that is linear in the length of the value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

REGEX: Final = "re:"
"""The prefix of a pattern that is a regular expression."""

# Memory for the states of one expression, in bytes; with less, matching is slower but still linear.
_MEMORY: Final = 1 << 20

Pattern = Callable[[str], bool]


def compile_regex(expression: str, *, broad: bool = False) -> Pattern:
    """Compile a regular expression (RE2 syntax) that must match the whole value.

    @param expression: the expression, without the prefix C{re:}.
    @param broad: whether to ignore case.
    @raise ValueError: if the expression is not valid.
    """
    # Few policies have one, and two libraries that each contain an RE2 fail in one process.
    import re2  # noqa: PLC0415 - loaded with the first regular expression

    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    options.never_capture = True
    options.max_mem = _MEMORY
    options.case_sensitive = not broad
    try:
        return _Regex(expression, broad, re2.compile(expression, options).fullmatch)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"is not a regular expression of RE2: {text}") from None


def compile_pattern(text: str, *, broad: bool) -> Pattern:
    """Compile a pattern: C{*} matches any text, and C{re:} begins a regular expression.

    @param text: the pattern as written in the policy.
    @param broad: whether to ignore case.
    @raise ValueError: if the pattern is not valid.
    """
    if text.startswith(REGEX):
        return compile_regex(text.removeprefix(REGEX), broad=broad)
    if broad:
        text = text.lower()
    first, *rest = text.split("*")
    return _Glob(broad, first, tuple(rest[:-1]), rest[-1] if rest else None)


@attrs.frozen
class _Regex:
    expression: str
    broad: bool
    _fullmatch: Callable[[str], object] = attrs.field(eq=False, repr=False)

    def __call__(self, value: str) -> bool:
        return self._fullmatch(value) is not None


@attrs.frozen
class _Glob:
    """Text between stars.  Each piece matches at its first position, without backtracking: the first is optimal.

    @ivar last: the text after the last star; C{None} if there is no star.
    """

    broad: bool
    first: str
    between: tuple[str, ...]
    last: str | None

    def __call__(self, value: str) -> bool:
        if self.broad:
            value = value.lower()
        if self.last is None:
            return value == self.first
        if not value.startswith(self.first):
            return False
        at = len(self.first)
        for piece in self.between:
            found = value.find(piece, at)
            if found < 0:
                return False
            at = found + len(piece)
        return len(value) - len(self.last) >= at and value.endswith(self.last)
