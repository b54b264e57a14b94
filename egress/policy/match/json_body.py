"""The content of a request as JSON, if all servers interpret it alike."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any, Final

import attrs
import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.visitor import TreeInterpreter

from egress.policy.match.coercion import (
    EXACT,
    AmbiguousNumber,
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
"""A sentinel for content that is not JSON, or that servers interpret differently."""

NOTHING: Final = object()
"""A sentinel for a request without content."""

# Parsing a number takes more than linear time, and legitimate numbers are shorter.
_MAX_DIGITS: Final = 64

# The delimiters between values.
_MARKS: Final = (b",", b":", b"[", b"{")

# Steps of work for each delimiter or byte, or for each key or number that needs a check.
_PER_MARK: Final = 350
_PER_BYTE: Final = 4
_PER_KEY: Final = 1300
_PER_NUMBER: Final = 1300
_PER_CONVERTED: Final = 4000
# Steps of work for each value that an expression selects.
_PER_FOUND: Final = 200
_PER_FOUND_BROADLY: Final = 1500

# The exceptions of expressions that process values of an unexpected type.
_FAILURES: Final = (JMESPathError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)

# JavaScript: merged into another object, these become properties of every object.
_PROTOTYPE: Final = "__proto__"
_CONSTRUCTOR: Final = ("constructor", "prototype")
_OF_OBJECTS: Final = frozenset((_PROTOTYPE, _CONSTRUCTOR[0]))
# No server treats two of these keys as equal.
_PLAIN_KEY: Final = re.compile("[a-z0-9_-]{1,64}")


class Document:
    """Content that every server parses as the same JSON, apart from type coercion.

    @ivar value: the parsed JSON.
    @ivar dotted: lower-case keys that some libraries treat as a path: C{{"a.b": 1}} as C{{"a": {"b": 1}}}.
    @ivar is_inexact: whether it contains a number that some servers round.
    @ivar marks: the number of delimiters between its values.
    @param what: the kind of the content, for reasons.
    """

    def __init__(
        self,
        value: Any,
        work: WorkBudget,
        dotted: frozenset[str] = frozenset(),
        *,
        is_inexact: bool = False,
        marks: int = 1,
        what: str = "JSON",
    ) -> None:
        self.value = value
        self.dotted = dotted
        self.is_inexact = is_inexact
        self.marks = marks
        self._work = work
        self._what = what

    def spend(self, steps: int) -> None:
        """Spend steps of the work budget.

        @raise TooMuchWork: if the budget is exceeded.
        """
        self._work.spend(steps, f"its {self._what} of about {self.marks:,} values takes long to search")

    @cached_property
    def lowered(self) -> Any:
        """The JSON with keys and values in lower case."""
        self.spend(_PER_MARK * self.marks)
        return lowered(self.value)

    @cached_property
    def converted(self) -> tuple[Any, ...]:
        """The lower-case JSON with its values converted as in loosely typed servers: to texts, and to numbers."""
        self.spend(_PER_CONVERTED * self.marks)
        return as_texts(self.lowered), as_numbers(self.lowered)


class _Reader:
    """A strict parser for one document."""

    def __init__(self, work: WorkBudget, cause: str) -> None:
        self._work = work
        self._cause = cause
        self.dotted: set[str] = set()
        self.is_inexact = False
        self._plain: set[str] = set()

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Build an object; reject keys that differ only in case, because some servers treat them as equal."""
        found = dict(pairs)
        if len(found) == len(pairs) and found.keys() <= self._plain:
            return found
        self._work.spend(_PER_KEY * len(pairs), self._cause)
        keys = {key.casefold() for key in found}
        if len(keys) != len(pairs):
            raise ValueError("a key is duplicated")
        self._plain.update(key for key in found if _PLAIN_KEY.fullmatch(key) and key not in _OF_OBJECTS)
        inner = found.get(_CONSTRUCTOR[0])
        if _PROTOTYPE in found or (isinstance(inner, dict) and _CONSTRUCTOR[1] in inner):
            raise ValueError("a key changes the prototype of all objects")
        self.dotted.update(key for key in keys if "." in key or "[" in key)
        return found

    def constant(self, text: str) -> Any:
        raise ValueError(f"{text} is not JSON")

    def whole(self, text: str) -> int | float:
        if len(text) > _MAX_DIGITS:
            raise ValueError("the number is too long")
        found = int(text)
        if abs(found) < EXACT and text != "-0":
            return found
        self._work.spend(_PER_NUMBER, self._cause)
        self.is_inexact = self.is_inexact or found != 0
        return AmbiguousNumber.of(text)

    def fraction(self, text: str) -> float:
        if len(text) > _MAX_DIGITS:
            raise ValueError("the number is too long")
        self._work.spend(_PER_NUMBER, self._cause)
        found = AmbiguousNumber.of(text)
        if abs(found) >= EXACT:
            self.is_inexact = True
        elif repr(float(found)) == text and not found.is_integer():
            return float(found)
        return found


def read_json(body: bytes, work: WorkBudget) -> Any:
    """Parse JSON strictly (RFC 8259): UTF-8, unique keys, finite numbers.

    @return: a L{Document}; C{UNREADABLE} if the content is not valid.
    @raise TooMuchWork: if the content exceeds the work budget.
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
            # Servers interpret unpaired surrogates differently.
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return UNREADABLE
    return Document(found, work, frozenset(reader.dotted), is_inexact=reader.is_inexact, marks=marks)


def lowered(document: Any) -> Any:
    """Convert a document to lower case, as servers that ignore case in keys see it; denials ignore it in values."""
    if isinstance(document, str):
        return document.lower()
    if isinstance(document, list):
        return [lowered(one) for one in document]
    if isinstance(document, dict):
        return {key.lower(): lowered(value) for key, value in document.items()}
    return document


@attrs.frozen
class Wanted:
    """The values that a condition matches.

    @ivar broad: whether values that a server converts to one of them match, and case is ignored.
    @ivar patterns: the patterns for texts.
    @ivar numbers: the numbers.
    @ivar booleans: the booleans.
    @ivar numeric: for a denial, the numbers that are written as text in the policy.
    """

    broad: bool
    patterns: tuple[Pattern, ...] = ()
    numbers: tuple[float, ...] = ()
    booleans: tuple[bool, ...] = ()
    numeric: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: list[Any], *, broad: bool) -> Wanted:
        """Compile the values of a policy.

        @raise ValueError: if a value is not a text, number or boolean, or is not a valid pattern.
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
                raise ValueError("write a string, a number, true or false, or a list of these")
        return cls(broad, tuple(patterns), tuple(numbers), tuple(booleans), tuple(numeric))

    def has(self, value: object) -> bool:
        """Whether a value is among these: exactly for a permission, in the view of some server for a denial."""
        if self.broad:
            return self._may_have(value)
        if isinstance(value, bool):
            return value in self.booleans
        if isinstance(value, (int, float)):
            return not isinstance(value, AmbiguousNumber) and value in self.numbers
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


# The node types of an expression that compare or transform values.
_COMPARING: Final = frozenset(
    {"comparator", "function_expression", "filter_projection", "and_expression", "or_expression", "not_expression"}
)


_WALKING: Final = frozenset({"projection", "value_projection", "flatten", "slice"})


@attrs.frozen
class Expression:
    """A compiled JMESPath expression.

    @ivar text: the expression as written.
    @ivar search: evaluates the expression for a document.
    @ivar lowered: the compiled expression for documents in lower case.
    @ivar compares: whether it does more than select a value by its location.
    @ivar walks: whether it can traverse the whole document.
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


def _search(tree: Any) -> Callable[[Any], Any]:
    """Return the evaluation of a parsed expression. JMESPath itself makes an interpreter for each evaluation."""
    return partial(TreeInterpreter().visit, tree)


def compile_expression(text: str) -> Expression:
    """Compile a JMESPath expression.

    @raise ValueError: if the text is not a valid expression.
    """
    try:
        found, low = jmespath.compile(text), jmespath.compile(text.lower())
    except _FAILURES as error:
        raise ValueError(f"is not a JMESPath expression: {' '.join(str(error).split())}") from None
    parts = frozenset(_parts(found.parsed))
    compares = not _COMPARING.isdisjoint(parts)
    return Expression(
        text, _search(found.parsed), _search(low.parsed), compares, compares or not _WALKING.isdisjoint(parts)
    )


def json_matches(document: object, expression: Expression, wanted: Wanted) -> Match:
    """Return whether the values that an expression selects in a document match; in a list, each member must match.

    A denial also evaluates the document as servers that ignore case, or that convert values, interpret it.

    @raise TooMuchWork: if the evaluation exceeds the work budget.
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
        # An expression that compares numbers can fail on texts.
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
    # Some servers join the members of a list.
    return Match.MAYBE if found is Match.NO and wanted.has(value) else found
