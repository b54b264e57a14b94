"""The content of a request as JSON, or the certainty that nobody can tell what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import attrs
import jmespath
from jmespath.exceptions import JMESPathError

from egress.policy.holds import Holds, certainty
from egress.policy.patterns import Pattern, compile_pattern

UNREADABLE: Final = object()
"""Stands for content that is not JSON, or that two servers may read as two things."""

NOTHING: Final = object()
"""Stands for the content of a request that has none."""

# Reading a number takes more than linear time, and nobody counts that far.
_MAX_DIGITS: Final = 300

# Each rule looks at all of them, while nobody else is served: with so many it takes tenths of a second.
MAX_VALUES: Final = 100_000
_MARKS: Final = (b",", b":", b"[", b"{")

# What may come of an expression that meets values it was not made for.
_FAILURES: Final = (JMESPathError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


def read_json(body: bytes) -> Any:
    """Read JSON strictly (RFC 8259): UTF-8, each key once, numbers that are numbers.

    Keys that differ in case alone are one key to some servers.

    @return: C{UNREADABLE} for everything else, and for what has too many values, by the marks between them.
    """
    if sum(map(body.count, _MARKS)) > MAX_VALUES:
        return UNREADABLE
    try:
        text = body.decode("utf-8")
        found = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite, parse_int=_whole
        )
        if "\\u" in text:
            # A surrogate without its other half is read by each server in a way of its own.
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return UNREADABLE
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key.casefold() for key, _ in pairs}) != len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("the number is too long")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


def lowered(document: Any) -> Any:
    """A document as servers read it to which case makes no difference in keys; in values it makes none to a denial."""
    if isinstance(document, str):
        return document.lower()
    if isinstance(document, list):
        return [lowered(one) for one in document]
    if isinstance(document, dict):
        return {key.lower(): lowered(value) for key, value in document.items()}
    return document


@attrs.frozen
class Wanted:
    """Values that are looked for.

    @ivar broad: whether C{7} and C{"7"} are the same, as loosely typed servers have it, and case makes no difference.
    """

    broad: bool
    patterns: tuple[Pattern, ...] = ()
    numbers: tuple[float, ...] = ()
    booleans: tuple[bool, ...] = ()

    @classmethod
    def of(cls, values: list[Any], *, broad: bool) -> Wanted:
        """Compile what a policy wants.

        @raise ValueError: when a value is neither text nor a number nor a boolean, or is no pattern.
        """
        patterns: list[Pattern] = []
        numbers: list[float] = []
        booleans: list[bool] = []
        for value in values:
            if isinstance(value, bool):
                booleans.append(value)
                if broad:
                    patterns += [compile_pattern(text, broad=True) for text in (str(value), str(int(value)))]
            elif isinstance(value, (int, float)):
                numbers.append(value)
                if broad:
                    patterns.append(compile_pattern(str(value), broad=True))
            elif isinstance(value, str):
                patterns.append(compile_pattern(value, broad=broad))
            else:
                raise ValueError("write text, a number, true or false, or a list of these")
        return cls(broad, tuple(patterns), tuple(numbers), tuple(booleans))

    def has(self, value: object) -> bool:
        """Whether it is one of the values."""
        if isinstance(value, bool):
            return value in self.booleans or (self.broad and self._has_text(str(value)))
        if isinstance(value, (int, float)):
            return value in self.numbers or (self.broad and self._has_text(str(value)))
        return isinstance(value, str) and self._has_text(value)

    def _has_text(self, text: str) -> bool:
        return any(matches(text) for matches in self.patterns)


Expression = Callable[[Any], Any]


def compile_expression(text: str) -> Expression:
    """Compile a JMESPath expression.

    @raise ValueError: when it is none.
    """
    try:
        return jmespath.compile(text).search
    except _FAILURES as error:
        raise ValueError(f"is no JMESPath expression: {' '.join(str(error).split())}") from None


def json_matches(document: object, expression: Expression, wanted: Wanted) -> Holds:
    """Whether what an expression finds in a document is wanted; of a list, each member of it."""
    if document is NOTHING:
        return Holds.NO
    if document is UNREADABLE:
        return Holds.MAYBE
    try:
        found = expression(document)
    except _FAILURES:
        return Holds.MAYBE
    return certainty(wanted.has(value) for value in (found if isinstance(found, list) else [found]))
