"""The content of a request as JSON, or the certainty that nobody can tell what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final

import attrs
import jmespath
from jmespath.exceptions import JMESPathError

from egress.policy.match.coercion import (
    EXACT,
    Odd,
    as_numbers,
    as_texts,
    is_inexact,
    may_be,
    number_in,
    numbers_of,
    texts_of,
)
from egress.policy.match.patterns import Pattern, compile_pattern
from egress.policy.match.tristate import Match, certainty
from egress.policy.match.work_budget import PER_CALL, PER_CHARACTER, WorkBudget

UNREADABLE: Final = object()
"""Stands for content that is not JSON, or that two servers may read as two things."""

NOTHING: Final = object()
"""Stands for the content of a request that has none."""

# Reading a number takes more than linear time, and nobody counts that far.
_MAX_DIGITS: Final = 64

# What is between values.
_MARKS: Final = (b",", b":", b"[", b"{")

# Steps of work for each mark or byte, or for each key or number that has to be looked at.
_PER_MARK: Final = 350
_PER_BYTE: Final = 4
_PER_KEY: Final = 1300
_PER_NUMBER: Final = 1300
_PER_CONVERTED: Final = 4000
# For each value that an expression finds.
_PER_FOUND: Final = 200
_PER_FOUND_BROADLY: Final = 1500

# What may come of an expression that meets values it was not made for.
_FAILURES: Final = (JMESPathError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)

# Merged into another object, these become properties that every object seems to have (JavaScript).
_PROTOTYPE: Final = "__proto__"
_CONSTRUCTOR: Final = ("constructor", "prototype")
_OF_OBJECTS: Final = frozenset((_PROTOTYPE, _CONSTRUCTOR[0]))
# No two of these are one key to any server.
_PLAIN_KEY: Final = re.compile("[a-z0-9_-]{1,64}")


class Document:
    """Content that every server reads as the same JSON, but for how it converts values.

    @ivar value: the JSON.
    @ivar dotted: keys that some libraries take for a path, in lower case: C{{"a.b": 1}} for C{{"a": {"b": 1}}}.
    @ivar is_inexact: whether it has a number that some servers round.
    @ivar marks: what is between its values, counted.
    """

    def __init__(
        self,
        value: Any,
        work: WorkBudget,
        dotted: frozenset[str] = frozenset(),
        *,
        is_inexact: bool = False,
        marks: int = 1,
    ) -> None:
        self.value = value
        self.dotted = dotted
        self.is_inexact = is_inexact
        self.marks = marks
        self._work = work

    def spend(self, steps: int) -> None:
        """Take note of work to be done on it.

        @raise TooMuchWork: when it is too much.
        """
        self._work.spend(steps, f"its JSON of about {self.marks:,} values takes long to look through")

    @cached_property
    def lowered(self) -> Any:
        """The JSON in lower case."""
        self.spend(_PER_MARK * self.marks)
        return lowered(self.value)

    @cached_property
    def converted(self) -> tuple[Any, ...]:
        """The same with values as loosely typed servers convert them."""
        self.spend(_PER_CONVERTED * self.marks)
        return as_texts(self.lowered), as_numbers(self.lowered)


class _Reader:
    """Reads one document strictly."""

    def __init__(self, work: WorkBudget, cause: str) -> None:
        self._work = work
        self._cause = cause
        self.dotted: set[str] = set()
        self.is_inexact = False
        self._plain: set[str] = set()

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Keys that differ in case alone are one key to some servers."""
        found = dict(pairs)
        if len(found) == len(pairs) and found.keys() <= self._plain:
            return found
        self._work.spend(_PER_KEY * len(pairs), self._cause)
        keys = {key.casefold() for key in found}
        if len(keys) != len(pairs):
            raise ValueError("a key is there twice")
        self._plain.update(key for key in found if _PLAIN_KEY.fullmatch(key) and key not in _OF_OBJECTS)
        inner = found.get(_CONSTRUCTOR[0])
        if _PROTOTYPE in found or (isinstance(inner, dict) and _CONSTRUCTOR[1] in inner):
            raise ValueError("a key changes all objects")
        self.dotted.update(key for key in keys if "." in key or "[" in key)
        return found

    def constant(self, text: str) -> Any:
        raise ValueError(f"{text} is no JSON")

    def whole(self, text: str) -> int | float:
        if len(text) > _MAX_DIGITS:
            raise ValueError("the number is too long")
        found = int(text)
        if abs(found) < EXACT and text != "-0":
            return found
        self._work.spend(_PER_NUMBER, self._cause)
        self.is_inexact = self.is_inexact or found != 0
        return Odd.of(text)

    def fraction(self, text: str) -> float:
        if len(text) > _MAX_DIGITS:
            raise ValueError("the number is too long")
        self._work.spend(_PER_NUMBER, self._cause)
        found = Odd.of(text)
        if abs(found) >= EXACT:
            self.is_inexact = True
        elif repr(float(found)) == text and not found.is_integer():
            return float(found)
        return found


def read_json(body: bytes, work: WorkBudget) -> Any:
    """Read JSON strictly (RFC 8259): UTF-8, each key once, numbers that are numbers.

    @return: a L{Document}; C{UNREADABLE} for everything else.
    @raise TooMuchWork: when there is too much of it.
    """
    work.spend(_PER_BYTE * len(body), f"its JSON has {len(body):,} bytes")
    marks = sum(map(body.count, _MARKS))
    cause = f"its JSON has about {marks:,} values"
    work.spend(_PER_MARK * marks, cause)
    reader = _Reader(work, cause)
    try:
        text = body.decode("utf-8")
        found = json.loads(
            text,
            object_pairs_hook=reader.object,
            parse_constant=reader.constant,
            parse_float=reader.fraction,
            parse_int=reader.whole,
        )
        if "\\u" in text:
            # A surrogate without its other half is read by each server in a way of its own.
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return UNREADABLE
    return Document(found, work, frozenset(reader.dotted), is_inexact=reader.is_inexact, marks=marks)


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

    @ivar broad: whether what servers convert to one of them is one of them, and case makes no difference.
    @ivar numeric: for a denial, the numbers that stand as text in the policy.
    """

    broad: bool
    patterns: tuple[Pattern, ...] = ()
    numbers: tuple[float, ...] = ()
    booleans: tuple[bool, ...] = ()
    numeric: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: list[Any], *, broad: bool) -> Wanted:
        """Compile what a policy wants.

        @raise ValueError: when a value is neither text nor a number nor a boolean, or is no pattern.
        """
        patterns: list[Pattern] = []
        numbers: list[float] = []
        booleans: list[bool] = []
        numeric: list[float] = []
        for value in values:
            if isinstance(value, bool):
                booleans.append(value)
            elif isinstance(value, (int, float)):
                numbers.append(value)
            elif isinstance(value, str):
                patterns.append(compile_pattern(value, broad=broad))
                found = number_in(value) if broad and value[-1:].isalnum() else None
                numeric += [] if found is None else [found]
            else:
                raise ValueError("write text, a number, true or false, or a list of these")
        return cls(broad, tuple(patterns), tuple(numbers), tuple(booleans), tuple(numeric))

    def has(self, value: object) -> bool:
        """Whether it is one of the values: for a permission, as it is written, for a denial, to some server."""
        if self.broad:
            return self._may_have(value)
        if isinstance(value, bool):
            return value in self.booleans
        if isinstance(value, (int, float)):
            return not isinstance(value, Odd) and value in self.numbers
        return isinstance(value, str) and self._has_text(value)

    def _may_have(self, value: object) -> bool:
        if value is None:
            return False
        if any(may_be(value, wanted) for wanted in self.booleans):
            return True
        if self.patterns and any(self._has_text(text) for text in texts_of(value)):
            return True
        if not (self.numbers or self.numeric):
            return False
        if is_inexact(value):
            return True
        return any(number in self.numbers for number in numbers_of(value)) or any(
            number_in(text) in self.numeric for text in texts_of(value) if self.numeric
        )

    def _has_text(self, text: str) -> bool:
        return any(matches(text) for matches in self.patterns)


# Parts of an expression that compare values, or make others of them.
_COMPARING: Final = frozenset(
    {"comparator", "function_expression", "filter_projection", "and_expression", "or_expression", "not_expression"}
)


_WALKING: Final = frozenset({"projection", "value_projection", "flatten", "slice"})


@attrs.frozen
class Expression:
    """A JMESPath expression.

    @ivar text: as it is written.
    @ivar lowered: the same for documents in lower case.
    @ivar compares: whether it does more than say where a value is.
    @ivar walks: whether it may look at all of a document.
    """

    text: str
    search: Callable[[Any], Any] = attrs.field(eq=False, repr=False)
    lowered: Callable[[Any], Any] = attrs.field(eq=False, repr=False)
    compares: bool
    walks: bool


def _parts(node: Any) -> Iterator[str]:
    yield node["type"]
    for child in node.get("children", ()):
        if isinstance(child, dict) and "type" in child:
            yield from _parts(child)


def compile_expression(text: str) -> Expression:
    """Compile a JMESPath expression.

    @raise ValueError: when it is none.
    """
    try:
        found, low = jmespath.compile(text), jmespath.compile(text.lower())
    except _FAILURES as error:
        raise ValueError(f"is no JMESPath expression: {' '.join(str(error).split())}") from None
    parts = frozenset(_parts(found.parsed))
    compares = not _COMPARING.isdisjoint(parts)
    return Expression(text, found.search, low.search, compares, compares or not _WALKING.isdisjoint(parts))


def json_matches(document: object, expression: Expression, wanted: Wanted) -> Match:
    """Whether what an expression finds in a document is wanted; of a list, each member of it.

    For a denial, also what it finds in the document as servers to which case makes no difference read it, or those that
    convert values.

    @raise TooMuchWork: when there is too much to look through.
    """
    if document is NOTHING:
        return Match.NO
    if not isinstance(document, Document):
        return Match.MAYBE
    if document.dotted and any(key in expression.text.casefold() for key in document.dotted):
        return Match.MAYBE
    try:
        found = _found(document, expression, expression.search, document.value, wanted)
        if not wanted.broad:
            is_unsure = expression.compares and document.is_inexact
            return Match.MAYBE if is_unsure else found
        if found is Match.NO:
            found = _found(document, expression, expression.lowered, document.lowered, wanted)
            others = document.converted if expression.compares else ()
            if found is not Match.NO or any(_is_in_converted(document, expression, other, wanted) for other in others):
                return Match.MAYBE
    except _FAILURES:
        return Match.MAYBE
    return found


def _is_in_converted(document: Document, expression: Expression, other: Any, wanted: Wanted) -> bool:
    try:
        return _found(document, expression, expression.lowered, other, wanted) is not Match.NO
    except _FAILURES:
        # An expression that compares numbers is not made for texts.
        return False


def _found(
    document: Document, expression: Expression, search: Callable[[Any], Any], reading: Any, wanted: Wanted
) -> Match:
    if expression.walks:
        document.spend(_PER_MARK * document.marks)
    value = search(reading)
    values = value if isinstance(value, list) else [value]
    characters = sum([len(one) for one in values if isinstance(one, str)])
    steps = (_PER_FOUND_BROADLY if wanted.broad else _PER_FOUND) + PER_CALL * len(wanted.patterns)
    document.spend(steps * len(values) + PER_CHARACTER * characters * len(wanted.patterns))
    if not isinstance(value, list):
        return certainty((wanted.has(value),))
    found = certainty(wanted.has(one) for one in value)
    # Some join the members of a list.
    return Match.MAYBE if found is Match.NO and wanted.has(value) else found
