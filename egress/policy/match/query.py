"""The parameters of a query, as servers may read them.

Servers disagree about C{;} between parameters, C{+}, encodings, repeated parameters and brackets in names.  What they
disagree about may hold for a denial, and does not for a permission.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from egress.policy.match.patterns import Pattern
from egress.policy.match.tristate import Match, certainty
from egress.policy.match.work_budget import PER_CALL, TooMuchWork, WorkBudget, steps_to_try

# Servers stop reading somewhere (PHP after 1,000), and each elsewhere.
MAX_PARAMETERS: Final = 500

# Steps of work.
_PER_PARAMETER: Final = 2500
_PER_CHARACTER: Final = 20
_PER_DECODED: Final = 5000
_PER_DECODED_CHARACTER: Final = 250
_PER_NAME_CHARACTER: Final = 200
_PER_DECODED_NAME_CHARACTER: Final = 500

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_STRUCTURE: Final = re.compile("%(26|3[bBdD])")
_SEPARATORS: Final = re.compile("[&;]")
# Means itself to every server.
_PLAIN: Final = re.compile(r"[ -$&-*,-~]*")
_PLAIN_NAME: Final = re.compile(r"[a-z0-9-]+")
_NESTED: Final = re.compile(r"[\[\].]+")
_JOINED: Final = re.compile(r"[\[\]. _]+")
# Properties of all objects, for the libraries that merge parameters into one.
_PROTOTYPES: Final = (("__proto__",), ("constructor", "prototype"))


def _steps_to_decode(raw: str) -> int:
    """How many steps of work it takes at most to find out what a name or a value may mean."""
    if "%" in raw or "+" in raw or not raw.isascii():
        return _PER_DECODED + _PER_DECODED_CHARACTER * len(raw)
    return PER_CALL + len(raw)


def _texts(raw: str) -> frozenset[str] | None:
    """What a name or a value may mean; C{None} when that cannot be told."""
    if _PLAIN.fullmatch(raw):
        return frozenset((raw,))
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


@attrs.frozen
class Name:
    """A name as servers take it apart.

    Express, Rack and Spring read C{[a]}, C{a[]}, C{a[b]} and C{a.b} as C{a} or as something in it.  PHP makes C{a_b} of
    C{a.b}, C{a b} and C{a[b}, and of what is before the brackets in C{a.b[c]}.

    @ivar nested: the steps from the outside in, in lower case.
    @ivar joined: all of it in the way of PHP, without C{_} at either end: Spring has fields C{_a} and C{!a} for C{a}.
    @ivar outer: what is before the first bracket in the way of PHP.
    """

    nested: tuple[str, ...]
    joined: str
    outer: str

    @classmethod
    def of(cls, text: str) -> Name:
        """Take a name apart."""
        text = text.strip().lower()
        if _PLAIN_NAME.fullmatch(text):
            return cls((text,), text, text)
        steps = tuple(filter(None, _NESTED.split(text.lstrip("!"))))
        for prototype in _PROTOTYPES:
            if len(steps) > len(prototype) and steps[: len(prototype)] == prototype:
                steps = steps[len(prototype) :]
        return cls(steps, _joined(text), _joined(text.partition("[")[0]))

    def may_be(self, wanted: Name) -> bool:
        """Whether some server takes it for the name of what is wanted, or of a part of it, or of all around it."""
        # qs reads "a[b]=1&a=c" as a[c], so the name of the outer one may be that of what is in it.
        length = min(len(self.nested), len(wanted.nested))
        if length and self.nested[:length] == wanted.nested[:length]:
            return True
        return wanted.joined in (self.joined, self.outer)


def _joined(text: str) -> str:
    return _JOINED.sub("_", text).strip("_!")


# Of the names in a policy, never of those that clients send.
_wanted_name = lru_cache(maxsize=1024)(Name.of)


@attrs.define(eq=False)
class Parameter:
    """A name in its readings and a value; C{None}: nobody can tell.

    @ivar raw: the value as it was sent.
    """

    names: frozenset[str] | None
    raw: str
    _values: frozenset[str] | bool | None = False

    @property
    def values(self) -> frozenset[str] | None:
        """The readings of the value.  Few are ever looked at."""
        if isinstance(self._values, bool):
            self._values = _texts(self.raw)
        return self._values

    def is_surely(self, name: str) -> bool:
        """Whether every server takes it for one of this name."""
        return self.names == frozenset({name})


class Way:
    """The parameters in one way of separating them."""

    def __init__(self, parts: Iterable[str], work: WorkBudget, cause: str) -> None:
        self._unclear: list[int] = []
        self._by_step: dict[str, list[tuple[int, Name]]] = {}
        self._by_text: dict[str, list[int]] = {}
        self._all: list[Parameter] = []
        for number, part in enumerate(parts):
            text, _, value = part.partition("=")
            each = _PER_DECODED_NAME_CHARACTER if "%" in text else _PER_NAME_CHARACTER
            work.spend(_steps_to_decode(text) + each * len(text), cause)
            names = _texts(text)
            self._all.append(Parameter(names, value))
            if names is None:
                self._unclear.append(number)
            for name in map(Name.of, names or ()):
                if name.nested:
                    self._by_step.setdefault(name.nested[0], []).append((number, name))
                for joined in {name.joined, name.outer}:
                    self._by_text.setdefault(joined, []).append(number)

    def named(self, text: str) -> tuple[Parameter, ...]:
        """The parameters that some server takes for those of a name, in their order."""
        wanted = _wanted_name(text)
        found = {*self._unclear, *self._by_text.get(wanted.joined, ())}
        for number, name in self._by_step.get(wanted.nested[0], ()) if wanted.nested else ():
            if name.may_be(wanted):
                found.add(number)
        return tuple(self._all[number] for number in sorted(found))


Query = tuple[Way, ...]
"""The parameters in each way of separating them."""


def read_query(path: str, work: WorkBudget) -> Query | None:
    """Read the query of a request.

    @param path: path and query as sent.
    @return: C{None} when it cannot be told where the query is, or what is in it.
    @raise TooMuchWork: when there is more of it than L{MAX_PARAMETERS}.
    """
    path, _, query = path.partition("?")
    if "%3f" in path.lower() or "%253f" in path.lower() or "#" in query:
        return None
    found = []
    for parts in _ways(query):
        if len(parts) > MAX_PARAMETERS:
            raise TooMuchWork(f"its query has more than {MAX_PARAMETERS} parameters")
        work.spend(_PER_PARAMETER * len(parts) + _PER_CHARACTER * len(query), _cause(query))
        found.append(Way(parts, work, _cause(query)))
    return tuple(found)


def _cause(query: str) -> str:
    return f"its query of {len(query):,} characters can be read in many ways"


def _ways(query: str) -> Iterator[list[str]]:
    # Some decode before they look for what separates.
    decoded = _STRUCTURE.sub(lambda match: chr(int(match[1], 16)), query)
    ways = (tuple(query.split("&")), tuple(_SEPARATORS.split(query)), tuple(_SEPARATORS.split(decoded)))
    for parts in dict.fromkeys(ways):
        yield [part for part in parts if part]


def has_parameter(query: Query | None, name: str) -> Match:
    """Whether there is a parameter of a name."""
    if query is None:
        return Match.MAYBE
    return _agreed(_presence(way.named(name), name) for way in query)


def _presence(named: tuple[Parameter, ...], name: str) -> Match:
    if any(one.is_surely(name) for one in named):
        return Match.YES
    return Match.MAYBE if named else Match.NO


def parameter_matches(query: Query | None, name: str, patterns: tuple[Pattern, ...], work: WorkBudget) -> Match:
    """Whether the parameter of a name has a value that one of some patterns matches; where it is repeated, each.

    @raise TooMuchWork: when there is too much to compare.
    """
    if query is None:
        return Match.MAYBE
    return _agreed(_matching(way.named(name), name, patterns, work) for way in query)


def _agreed(answers: Iterable[Match]) -> Match:
    """What is said whichever way the parameters are separated."""
    found = set(answers)
    return found.pop() if len(found) == 1 else Match.MAYBE


def _matching(named: tuple[Parameter, ...], name: str, patterns: tuple[Pattern, ...], work: WorkBudget) -> Match:
    cause = "its query has many or long values to compare"
    work.spend(sum(_steps_to_decode(one.raw) for one in named), cause)
    if any(one.values is None for one in named):
        return Match.MAYBE
    values = [value for one in named for value in one.values or ()]
    work.spend(steps_to_try(values, len(patterns)), cause)
    found = certainty(any(matches(value) for matches in patterns) for value in values)
    if found is Match.YES:
        return Match.YES if all(one.is_surely(name) for one in named) else Match.MAYBE
    if found is Match.NO and len(named) > 1:
        # Some join them.
        joined = (mark.join(min(one.values or ("",)) for one in named) for mark in (",", ", "))
        if any(matches(text) for text in joined for matches in patterns):
            return Match.MAYBE
    return found
