"""A strict reader of TOML tables: it rejects unknown input with an error that names the position and the fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, Final, TypeVar

import attrs

from egress.model.decision import Verdict
from egress.model.errors import InvalidTarget
from egress.policy.parse.toml_positions import Lines, Path, heads

# Reasons appear in header fields and in log lines.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_T = TypeVar("_T")
_R = TypeVar("_R")

_NAMES: Final[dict[type, str]] = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}


class PolicyError(Exception):
    """An invalid policy.

    @ivar reason: one line that names the position and the fix.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.define(slots=False)
class Document:
    """One TOML document of a policy.

    @ivar where: the name of the document in errors.
    @ivar text: the text of the document.
    @ivar table: the parsed document.
    @ivar file: the file of the document, if it has one.
    """

    where: str
    text: str = attrs.field(repr=False)
    table: dict[str, Any] = attrs.field(repr=False)
    file: FilePath | None = None

    @cached_property
    def lines(self) -> Lines:
        """The line numbers of the document, computed on demand."""
        return Lines(self.text)

    @cached_property
    def _heads(self) -> dict[str, list[int]]:
        """The lines of the tables in lists: each rule stores its line, and this is the cheaper way to find it."""
        found = heads(self.text)
        tables = {key: self.table.get(key) for key in found}
        return {key: found[key] for key, one in tables.items() if isinstance(one, list) and len(one) == len(found[key])}

    def place(self, path: Path) -> str:
        """Return the file and line of a path."""
        if len(path) == 2 and isinstance(path[1], int):
            lines = self._heads.get(str(path[0]))
            if lines is not None:
                return f"{self.where}:{lines[path[1]]}"
        return f"{self.where}:{self.lines.of(path)}"

    @cached_property
    def is_plain(self) -> bool:
        """Whether no text of the document can contain a variable."""
        return "${" not in self.text and "\\" not in self.text

    def error(self, path: Path, text: str) -> PolicyError:
        """Return an error about a key, a table or a list member."""
        return PolicyError(f"{self.place(path)}: {text}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Suggest the most similar known word, or list all known words."""
    known = sorted(known)
    similar = get_close_matches(word.lower(), known, 1, 0.6)
    return f"did you mean {similar[0]!r}?" if similar else f"use {', '.join(known)}"


def is_a(value: object, kind: type) -> bool:
    """Whether a value has a type; in TOML, a boolean is not a number."""
    return type(value) is kind or (isinstance(value, kind) and not isinstance(value, bool))


class Table:
    """A TOML table.

    @param path: the position in the document.
    @param label: the name of the table in errors, as in C{"rule no-admin"}; empty for the document itself.
    @param known: the permitted keys.
    """

    def __init__(self, document: Document, path: Path, label: str, table: Any, known: Iterable[str]) -> None:
        self.document = document
        self.path = path
        self._label = f"{label}: " if label else ""
        self.table: dict[str, Any] = table
        known = frozenset(known)
        if not known.issuperset(self.table):
            key = next(key for key in self.table if key not in known)
            raise self.error(f"{key!r} is not known here; {nearest(key, known)}", key)

    def error(self, text: str, *key: str | int) -> PolicyError:
        """Return an error about the table, or about one of its members."""
        return self.document.error((*self.path, *key), f"{self._label}{text}")

    def get(self, key: str, kind: type[_T]) -> _T | None:
        """Return a value of one type; C{None} if the key is missing."""
        value = self.table.get(key)
        if value is not None and not is_a(value, kind):
            raise self.error(f"{key!r} must be {_NAMES[kind]}", key)
        return value

    def line(self, key: str) -> str | None:
        """Return a text of one line; C{None} if the key is missing."""
        text = self.get(key, str)
        if text is not None and (not text.strip() or _UNPRINTABLE.search(text)):
            raise self.error(f"{key!r} must be one line of text; shorten it, or remove it", key)
        return text

    def verdict(self, key: str, *known: Verdict) -> Verdict | None:
        """Return one of the permitted verdicts; C{None} if the key is missing."""
        text = self.get(key, str)
        if text is None:
            return None
        for verdict in known:
            if verdict.value == text:
                return verdict
        *names, last = (f'"{verdict.value}"' for verdict in known)
        raise self.error(f"{key!r} must be {', '.join(names)} or {last}, not {text!r}", key)

    def read(self, key: str, read: Callable[[Any], _R]) -> _R | None:
        """Return a value that a function parses; the function raises C{ValueError} for invalid input."""
        value = self.table.get(key)
        return None if value is None else self.reading(read, value, f"{key!r}", key)

    def reading(self, read: Callable[[_T], _R], value: _T, what: str, *key: str | int) -> _R:
        """Parse a value at some position in the table."""
        try:
            return read(value)
        except (ValueError, InvalidTarget) as error:
            raise self.error(f"{what}: {error}", *key) from None

    def members(self, key: str) -> list[Any]:
        """Return a list, which must not be empty; an empty list if the key is missing."""
        if key not in self.table:
            return []
        values = self.get(key, list)
        if not values:
            raise self.error(f"{key!r} is empty and would match nothing; remove it to match everything", key)
        return values

    def entries(self, key: str, kind: type[_T], read: Callable[[_T], _R]) -> tuple[_R, ...]:
        """Return a list whose members have one type, each parsed by a function."""
        if key not in self.table:
            return ()
        found = []
        for index, value in enumerate(self.members(key)):
            if not is_a(value, kind):
                raise self.error(f"{key!r} must be a list, and each entry {_NAMES[kind]}", key, index)
            found.append(self.reading(read, value, f"{key} {value!r}", key, index))
        return tuple(found)
