"""Values as loosely typed servers convert them: JavaScript, PHP and their kind compare C{[["7"]]}, C{"7"} and C{7}.

What some server would convert to a value that a denial is about is such a value to the denial.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

# From here on, an integer and the next one are the same number in JavaScript (ECMA-262, Number.MAX_SAFE_INTEGER).
EXACT: Final = 2**53

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,9})?")
_HEXADECIMAL: Final = re.compile(r"0[xX][0-9A-Fa-f]{1,200}|0[oO][0-7]{1,200}|0[bB][01]{1,500}")
_BLANK: Final = " \t\n\r\v\f\0\xa0\ufeff\u2028\u2029"
# Beyond this depth, lists are not unwrapped: no honest value is so deep.
_DEPTH: Final = 16
_FALSE: Final = frozenset({"", "0", "false", "no", "off", "null"})
_OBJECT: Final = ("[object object]", "array")


class Odd(float):
    """A number that is not written as servers write it back, or that not all of them can hold.

    C{1e0}, C{1.0} and C{-0} are integers to some and none to others; beyond 2^53, JavaScript rounds integers.

    @ivar text: as it was written.
    """

    text: str

    @classmethod
    def of(cls, text: str) -> Odd:
        """Read a number.

        @raise ValueError: when it is too large for every server.
        """
        found = cls(text)
        if found in (float("inf"), float("-inf")):
            raise ValueError("the number is too large")
        found.text = text
        return found


def number_in(text: str) -> float | None:
    """The number that servers make of text; of C{7abc}, too, as PHP does.

    @return: C{None} where it is none.
    """
    text = text.strip(_BLANK)
    hexadecimal = _HEXADECIMAL.fullmatch(text)
    if hexadecimal is not None:
        return float(int(text, 0))
    found = _NUMBER.match(text)
    return None if found is None else float(found[0])


def texts_of(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts that servers make of a value, in lower case."""
    if isinstance(value, str):
        text = value.lower()
        yield text
        # Some cut at a NUL, some remove blanks.
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
        # As JavaScript writes it: the shortest digits that mean it, and zeros.
        digits, _, exponent = f"{number!r}".partition("e")
        yield digits.replace(".", "").ljust(int(exponent) + 1 + (number < 0), "0") if exponent else str(whole)


def numbers_of(value: Any, depth: int = 0) -> Iterator[float]:
    """The numbers that servers make of a value."""
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, str):
        found = number_in(value)
        yield 0.0 if found is None else found
    elif isinstance(value, list):
        if len(value) == 1 and value[0] is not None and depth < _DEPTH:
            yield from numbers_of(value[0], depth + 1)
        else:
            # PHP counts whether there is anything.
            yield float(bool(value))
    elif isinstance(value, dict):
        yield float(bool(value))


def is_inexact(value: Any) -> bool:
    """Whether a value is a number that some servers round or cut, so that it may be any other to them."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str):
        value = number_in(value)
    return isinstance(value, (int, float)) and abs(value) >= EXACT


def may_be(value: Any, wanted: bool) -> bool:
    """Whether some server takes a value for true, or for false.

    To Ruby everything is true but C{false}; PHP and JavaScript take empty values, C{0} and C{"0"} for false, and
    programs read C{"false"} and C{"off"} so.
    """
    if value is None:
        return False
    if wanted:
        return value is not False
    return not value or any(text in _FALSE for text in texts_of(value))


def as_texts(document: Any) -> Any:
    """A document with the texts that servers make of its values, for expressions that compare."""
    if isinstance(document, dict):
        return _listed({key: as_texts(value) for key, value in document.items()})
    if isinstance(document, list):
        if any(isinstance(one, (dict, list)) for one in document):
            return as_texts(document[0]) if len(document) == 1 else [as_texts(one) for one in document]
        return ",".join(next(texts_of(one), "") for one in document)
    return document if document is None or isinstance(document, str) else next(texts_of(document))


def as_numbers(document: Any) -> Any:
    """A document with the numbers that servers make of its values, where they make any."""
    if isinstance(document, dict):
        return _listed({key: as_numbers(value) for key, value in document.items()})
    if isinstance(document, list):
        return as_numbers(document[0]) if len(document) == 1 else [as_numbers(one) for one in document]
    if isinstance(document, str):
        found = number_in(document)
        return document if found is None else found
    return document if document is None else float(document)


def _listed(found: dict[str, Any]) -> Any:
    """To PHP, an object with the keys C{0}, C{1} and so on is a list."""
    return list(found.values()) if found and list(found) == [str(at) for at in range(len(found))] else found
