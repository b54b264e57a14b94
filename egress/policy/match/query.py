"""Parameters of queries and forms, in all the ways in which servers interpret them.

Servers disagree about C{;} between parameters, C{+}, encodings, repeated parameters and brackets in names.  An
interpretation on which they disagree can match a denial, but not a permission.
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

# Each server stops parsing at a different limit (PHP after 1,000 parameters).
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
# Text without a special meaning to any server.
_PLAIN: Final = re.compile(r"[ -$&-*,-~]*")
_PLAIN_NAME: Final = re.compile(r"[a-z0-9-]+")
_NESTED: Final = re.compile(r"[\[\].]+")
_JOINED: Final = re.compile(r"[\[\]. _]+")
# Properties of all objects, in libraries that merge parameters into an object.
_PROTOTYPES: Final = (("__proto__",), ("constructor", "prototype"))


def _steps_to_decode(raw: str) -> int:
    """Return the maximum number of steps of work to decode a name or a value."""
    if "%" in raw or "+" in raw or not raw.isascii():
        return _PER_DECODED + _PER_DECODED_CHARACTER * len(raw)
    return PER_CALL + len(raw)


def _texts(raw: str) -> frozenset[str] | None:
    """Return the possible decodings of a name or a value; C{None} if they cannot be determined."""
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
                # Compatibility characters, such as full-width letters.
                found.add(unicodedata.normalize("NFKC", text))
            # Some servers decode twice, which can change the meaning.
            if not _ESCAPE.search(text):
                break
        else:
            return None
    return frozenset(found)


@attrs.frozen
class Name:
    """The name of a parameter, as servers split it.

    Express, Rack and Spring parse C{[a]}, C{a[]}, C{a[b]} and C{a.b} as C{a} or as a member of it.  PHP converts
    C{a.b}, C{a b} and C{a[b} to C{a_b}, and so the text before the brackets in C{a.b[c]}.

    @ivar nested: the parts from the outermost to the innermost, in lower case.
    @ivar joined: the name as PHP converts it, without C{_} at either end: Spring has fields C{_a} and C{!a} for C{a}.
    @ivar outer: the text before the first bracket, as PHP converts it.
    """

    nested: tuple[str, ...]
    joined: str
    outer: str

    @classmethod
    def of(cls, text: str) -> Name:
        """Split a name."""
        text = text.strip().lower()
        if _PLAIN_NAME.fullmatch(text):
            return cls((text,), text, text)
        steps = tuple(filter(None, _NESTED.split(text.lstrip("!"))))
        for prototype in _PROTOTYPES:
            if len(steps) > len(prototype) and steps[: len(prototype)] == prototype:
                steps = steps[len(prototype) :]
        return cls(steps, _joined(text), _joined(text.partition("[")[0]))

    def may_be(self, wanted: Name) -> bool:
        """Whether some server treats it as the wanted name, as a member of it, or as an object that contains it."""
        # qs parses "a[b]=1&a=c" as a[c], so the name of an object can be the name of its member.
        length = min(len(self.nested), len(wanted.nested))
        if length and self.nested[:length] == wanted.nested[:length]:
            return True
        return wanted.joined in (self.joined, self.outer)


def _joined(text: str) -> str:
    return _JOINED.sub("_", text).strip("_!")


# Cached for the names in a policy, never for names that clients send.
_wanted_name = lru_cache(maxsize=1024)(Name.of)


@attrs.define(eq=False)
class Parameter:
    """A parameter of a query, or a field of a form.

    @ivar names: the possible decodings of the name; C{None} if they cannot be determined.
    @ivar raw: the value as sent.
    """

    names: frozenset[str] | None
    raw: str
    _values: frozenset[str] | bool | None = False

    @property
    def values(self) -> frozenset[str] | None:
        """The possible decodings of the value, computed on demand: few are used."""
        if isinstance(self._values, bool):
            self._values = _texts(self.raw)
        return self._values

    @property
    def steps(self) -> int:
        """The maximum number of steps of work to decode the value."""
        return _steps_to_decode(self.raw)

    def is_surely(self, name: str) -> bool:
        """Whether every server interprets it as a parameter of this name."""
        return self.names == frozenset({name})


class QuerySplit:
    """The parameters according to one way of splitting the query."""

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self._unclear: list[int] = []
        self._by_step: dict[str, list[tuple[int, Name]]] = {}
        self._by_text: dict[str, list[int]] = {}
        self._all: list[Parameter] = []
        for number, parameter in enumerate(parameters):
            self._all.append(parameter)
            if parameter.names is None:
                self._unclear.append(number)
            for name in map(Name.of, parameter.names or ()):
                if name.nested:
                    self._by_step.setdefault(name.nested[0], []).append((number, name))
                for joined in {name.joined, name.outer}:
                    self._by_text.setdefault(joined, []).append(number)

    def named(self, text: str) -> tuple[Parameter, ...]:
        """Return the parameters that some server interprets as parameters of this name, in their order."""
        wanted = _wanted_name(text)
        found = {*self._unclear, *self._by_text.get(wanted.joined, ())}
        for number, name in self._by_step.get(wanted.nested[0], ()) if wanted.nested else ():
            if name.may_be(wanted):
                found.add(number)
        return tuple(self._all[number] for number in sorted(found))


Query = tuple[QuerySplit, ...]
"""The parameters for each way of splitting the query."""


def _decoded(parts: Iterable[str], work: WorkBudget, cause: str) -> Iterator[Parameter]:
    for part in parts:
        text, _, value = part.partition("=")
        each = _PER_DECODED_NAME_CHARACTER if "%" in text else _PER_NAME_CHARACTER
        work.spend(_steps_to_decode(text) + each * len(text), cause)
        yield Parameter(_texts(text), value)


def read_query(path: str, work: WorkBudget) -> Query | None:
    """Parse the query of a request.

    @param path: the path and query as sent.
    @param work: the work budget of the decision.
    @return: C{None} if the position or the content of the query is ambiguous.
    @raise TooMuchWork: if the query has more than L{MAX_PARAMETERS}, or exceeds the work budget.
    """
    path, _, query = path.partition("?")
    if "%3f" in path.lower() or "%253f" in path.lower() or "#" in query:
        return None
    return read_parameters(query, work, "query")


def read_parameters(text: str, work: WorkBudget, kind: str) -> Query:
    """Parse the text of a query, or of a form of the type C{application/x-www-form-urlencoded}.

    @param kind: the word for it in errors.
    @raise TooMuchWork: see L{read_query}.
    """
    found = []
    cause = f"its {kind} of {len(text):,} characters can be read in many ways"
    for parts in _ways(text):
        if len(parts) > MAX_PARAMETERS:
            raise TooMuchWork(f"its {kind} has more than {MAX_PARAMETERS} parameters")
        work.spend(_PER_PARAMETER * len(parts) + _PER_CHARACTER * len(text), cause)
        found.append(QuerySplit(_decoded(parts, work, cause)))
    return tuple(found)


def _ways(query: str) -> Iterator[list[str]]:
    # Some servers decode before they split.
    decoded = _STRUCTURE.sub(lambda match: chr(int(match[1], 16)), query)
    ways = (tuple(query.split("&")), tuple(_SEPARATORS.split(query)), tuple(_SEPARATORS.split(decoded)))
    for parts in dict.fromkeys(ways):
        yield [part for part in parts if part]


def has_parameter(query: Query | None, name: str) -> Match:
    """Return whether there is a parameter of a name."""
    if query is None:
        return Match.MAYBE
    return _combined(_presence(split.named(name), name) for split in query)


def _presence(named: tuple[Parameter, ...], name: str) -> Match:
    if any(one.is_surely(name) for one in named):
        return Match.YES
    return Match.MAYBE if named else Match.NO


def parameter_matches(
    query: Query | None, name: str, patterns: tuple[Pattern, ...], work: WorkBudget, kind: str = "query"
) -> Match:
    """Return whether one of the patterns matches the value of a parameter; if it is repeated, each value must match.

    @param kind: the word for the query in errors.
    @raise TooMuchWork: if the comparison exceeds the work budget.
    """
    if query is None:
        return Match.MAYBE
    cause = f"its {kind} has many or long values to compare"
    return _combined(_matching(split.named(name), name, patterns, work, cause) for split in query)


def _combined(results: Iterable[Match]) -> Match:
    """Return the common result of all ways of splitting the query; C{MAYBE} if they differ."""
    found = set(results)
    return found.pop() if len(found) == 1 else Match.MAYBE


def _matching(
    named: tuple[Parameter, ...], name: str, patterns: tuple[Pattern, ...], work: WorkBudget, cause: str
) -> Match:
    work.spend(sum(one.steps for one in named), cause)
    if any(one.values is None for one in named):
        return Match.MAYBE
    values = [value for one in named for value in one.values or ()]
    work.spend(steps_to_try(values, len(patterns)), cause)
    found = certainty(any(matches(value) for matches in patterns) for value in values)
    if found is Match.YES:
        return Match.YES if all(one.is_surely(name) for one in named) else Match.MAYBE
    if found is Match.NO and len(named) > 1:
        # Some servers join the values.
        joined = (mark.join(min(one.values or ("",)) for one in named) for mark in (",", ", "))
        if any(matches(text) for text in joined for matches in patterns):
            return Match.MAYBE
    return found
