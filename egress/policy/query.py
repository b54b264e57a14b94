"""The parameters of a query, as servers may read them.

Servers disagree about C{;} between parameters, C{+}, encodings, repeated parameters and brackets in names.  What they
disagree about may hold for a denial, and does not for a permission.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from egress.policy.holds import Holds, certainty
from egress.policy.patterns import Pattern

# Servers stop reading somewhere (PHP after 1,000), and each elsewhere.
MAX_PARAMETERS: Final = 500

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_STRUCTURE: Final = re.compile("%(26|3[bBdD])")
_SEPARATORS: Final = re.compile("[&;]")
# PHP: "a.b", "a b" and "a[b" are read as "a_b", blanks before a name are left out, and brackets make lists.
_IN_NAMES: Final = re.compile(r"[. ]")


def _texts(raw: str) -> frozenset[str] | None:
    """What a name or a value may mean; C{None} when that cannot be told."""
    found = set()
    for text in {raw, raw.replace("+", " ")}:
        for _ in range(3):
            if _BAD_ESCAPE.search(text):
                return None
            try:
                text = unquote_to_bytes(text).decode("utf-8")
            except UnicodeError:
                return None
            if _CONTROL.search(text):
                return None
            found.add(text)
            if not text.isascii():
                # Full-width letters as plain ones, and the like.
                found.add(unicodedata.normalize("NFKC", text))
            # Some decode twice, and then it means something else.
            if not _ESCAPE.search(text):
                break
        else:
            return None
    return frozenset(found)


def _loose(name: str) -> str:
    return _IN_NAMES.sub("_", name.strip().lower())


@attrs.frozen
class Parameter:
    """A name and a value in their readings; C{None}: nobody can tell."""

    names: frozenset[str] | None
    values: frozenset[str] | None

    def may_be(self, name: str) -> bool:
        """Whether some server takes it for one of this name."""
        if self.names is None:
            return True
        loose = _loose(name)
        return any(_loose(one).partition("[")[0] == loose.partition("[")[0] for one in self.names)

    def is_surely(self, name: str) -> bool:
        """Whether every server takes it for one of this name."""
        return self.names == frozenset({name})


Query = tuple[tuple[Parameter, ...], ...]
"""The parameters in each way of separating them."""


def read_query(path: str) -> Query | None:
    """Read the query of a request.

    @param path: path and query as sent.
    @return: C{None} when it cannot be told where the query is, or what is in it.
    """
    path, _, query = path.partition("?")
    if "%3f" in path.lower() or "%253f" in path.lower() or "#" in query:
        return None
    ways = []
    # Some decode before they look for what separates.
    decoded = _STRUCTURE.sub(lambda match: chr(int(match[1], 16)), query)
    for parts in {tuple(query.split("&")), tuple(_SEPARATORS.split(query)), tuple(_SEPARATORS.split(decoded))}:
        if len(parts) > MAX_PARAMETERS:
            return None
        ways.append(tuple(_parameter(part) for part in parts if part))
    return tuple(ways)


def _parameter(part: str) -> Parameter:
    name, _, value = part.partition("=")
    return Parameter(_texts(name), _texts(value))


def has_parameter(query: Query | None, name: str) -> Holds:
    """Whether there is a parameter of a name."""
    if query is None:
        return Holds.MAYBE
    return _agreed(_presence(way, name) for way in query)


def _presence(way: tuple[Parameter, ...], name: str) -> Holds:
    if any(one.is_surely(name) for one in way):
        return Holds.YES
    return Holds.MAYBE if any(one.may_be(name) for one in way) else Holds.NO


def parameter_matches(query: Query | None, name: str, patterns: tuple[Pattern, ...]) -> Holds:
    """Whether the parameter of a name has a value that one of some patterns matches; where it is repeated, each."""
    if query is None:
        return Holds.MAYBE
    return _agreed(_matching(tuple(one for one in way if one.may_be(name)), name, patterns) for way in query)


def _agreed(answers: Iterable[Holds]) -> Holds:
    """What is said whichever way the parameters are separated."""
    found = set(answers)
    return found.pop() if len(found) == 1 else Holds.MAYBE


def _matching(named: tuple[Parameter, ...], name: str, patterns: tuple[Pattern, ...]) -> Holds:
    if any(one.values is None for one in named):
        return Holds.MAYBE
    values = [value for one in named for value in one.values or ()]
    found = certainty(any(matches(value) for matches in patterns) for value in values)
    if found is Holds.YES:
        return Holds.YES if all(one.is_surely(name) for one in named) else Holds.MAYBE
    if found is Holds.NO and len(named) > 1:
        # Some join them.
        joined = (mark.join(min(one.values or ("",)) for one in named) for mark in (",", ", "))
        if any(matches(text) for text in joined for matches in patterns):
            return Holds.MAYBE
    return found
