"""Type coercion as in loosely typed servers: JavaScript, PHP and others treat C{[["7"]]}, C{"7"} and C{7} as equal.

If a server could convert a value to one that a denial matches, the denial matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

# From this value on, JavaScript cannot represent every integer (ECMA-262, Number.MAX_SAFE_INTEGER).
EXACT: Final = 2**53

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,9})?")
_HEXADECIMAL: Final = re.compile(r"0[xX][0-9A-Fa-f]{1,200}|0[oO][0-7]{1,200}|0[bB][01]{1,500}")
_BLANK: Final = " \t\n\r\v\f\0\xa0\ufeff\u2028\u2029"
# Lists are not unwrapped beyond this depth: legitimate values are not nested this deeply.
_DEPTH: Final = 16
_FALSE: Final = frozenset({"", "0", "false", "no", "off", "null"})
_OBJECT: Final = ("[object object]", "array")


class AmbiguousNumber(float):
    """A number in a non-canonical notation, or a number that some servers cannot represent.

    Servers disagree on whether C{1e0}, C{1.0} and C{-0} are integers; beyond 2^53, JavaScript rounds integers.

    @ivar text: the number as written.
    """

    text: str

    @classmethod
    def of(cls, text: str) -> AmbiguousNumber:
        """Parse a number.

        @raise ValueError: if no server can represent the number.
        """
        found = cls(text)
        if found in (float("inf"), float("-inf")):
            raise ValueError("the number is too large")
        found.text = text
        return found


def number_in(text: str) -> float | None:
    """Return the number to which servers convert a text; also for C{7abc}, as PHP does.

    @return: the number; C{None} if the text does not begin with one.
    """
    text = text.strip(_BLANK)
    hexadecimal = _HEXADECIMAL.fullmatch(text)
    if hexadecimal is not None:
        return float(int(text, 0))
    found = _NUMBER.match(text)
    return None if found is None else float(found[0])


def texts_of(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the texts to which servers convert a value, in lower case."""
    if isinstance(value, str):
        text = value.lower()
        yield text
        # Some servers cut the text at a NUL, others remove whitespace.
        shorter = text.partition("\0")[0].strip(_BLANK)
        if shorter != text:
            yield shorter
    elif isinstance(value, bool):
        yield from ("true", "1") if value else ("false", "0", "")
    elif isinstance(value, (int, float)):
        yield from _texts_of_number(value)
    elif isinstance(value, list):
        yield "array"
        if len(value) == 1 and depth < _DEPTH:
            yield from texts_of(value[0], depth + 1)
        elif depth < _DEPTH:
            yield ",".join(next(texts_of(one, depth + 1), "") for one in value)
    elif isinstance(value, dict):
        yield from _OBJECT


def _texts_of_number(value: float) -> Iterator[str]:
    number = float(value)
    yield from (getattr(value, "text", str(value)).lower(), repr(number), f"{number:.14g}", f"{number:.17g}")
    if number.is_integer():
        whole = int(number)
        yield str(whole)
        # JavaScript's notation: the shortest digits that identify the number, padded with zeros.
        digits, _, exponent = f"{number!r}".partition("e")
        yield digits.replace(".", "").ljust(int(exponent) + 1 + (number < 0), "0") if exponent else str(whole)


def numbers_of(value: Any, depth: int = 0) -> Iterator[float]:
    """Yield the numbers to which servers convert a value."""
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, str):
        found = number_in(value)
        yield 0.0 if found is None else found
    elif isinstance(value, list):
        if len(value) == 1 and value[0] is not None and depth < _DEPTH:
            yield from numbers_of(value[0], depth + 1)
        else:
            # PHP converts an array to 0 or 1: whether it has elements.
            yield float(bool(value))
    elif isinstance(value, dict):
        yield float(bool(value))


def is_inexact(value: Any) -> bool:
    """Whether a value is a number that some servers round or truncate, so that it can equal another number there."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        value = number_in(value)
    return isinstance(value, (int, float)) and abs(value) >= EXACT


def may_be(value: Any, wanted: bool) -> bool:
    """Whether some server treats a value as true, or as false.

    In Ruby, only C{false} and C{nil} are false; PHP and JavaScript treat empty values, C{0} and C{"0"} as false, and
    programs interpret C{"false"} and C{"off"} as false.
    """
    if value is None:
        return False
    if wanted:
        return value is not False
    return not value or any(text in _FALSE for text in texts_of(value))


def as_texts(document: Any) -> Any:
    """Convert the values of a document to the texts that servers derive from them, for expressions that compare."""
    if isinstance(document, dict):
        return _listed({key: as_texts(value) for key, value in document.items()})
    if isinstance(document, list):
        if any(isinstance(one, (dict, list)) for one in document):
            return as_texts(document[0]) if len(document) == 1 else [as_texts(one) for one in document]
        return ",".join(next(texts_of(one), "") for one in document)
    return document if document is None or isinstance(document, str) else next(texts_of(document))


def as_numbers(document: Any) -> Any:
    """Convert the values of a document to the numbers that servers derive from them, if there are any."""
    if isinstance(document, dict):
        return _listed({key: as_numbers(value) for key, value in document.items()})
    if isinstance(document, list):
        return as_numbers(document[0]) if len(document) == 1 else [as_numbers(one) for one in document]
    if isinstance(document, str):
        found = number_in(document)
        return document if found is None else found
    return document if document is None else float(document)


def _listed(found: dict[str, Any]) -> Any:
    """Convert an object with the keys C{0}, C{1} and so on to a list, as PHP does."""
    return list(found.values()) if found and list(found) == [str(at) for at in range(len(found))] else found
