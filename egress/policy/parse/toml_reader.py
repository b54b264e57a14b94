"""TOML tables, read strictly: whatever is not understood is refused, with its place and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, Final, TypeVar

import attrs

from egress.model.decision import Verdict
from egress.model.errors import InvalidTarget
from egress.policy.parse.toml_positions import Lines, Path, heads
from egress.policy.reason_template import UNPRINTABLE

_T = TypeVar("_T")
_R = TypeVar("_R")

_NAMES: Final[dict[type, str]] = {str: "a string", int: "a whole number", list: "a list", dict: "a table"}


class PolicyError(Exception):
    """A policy that cannot be used.

    @ivar reason: one line that names the place and the remedy.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.define(slots=False)
class Document:
    """One TOML document of a policy.

    @ivar where: names it in errors.
    @ivar file: where it was read from, if it was a file.
    """

    where: str
    text: str = attrs.field(repr=False)
    table: dict[str, Any] = attrs.field(repr=False)
    file: FilePath | None = None

    @cached_property
    def lines(self) -> Lines:
        """Its lines; they are looked for where one is asked for."""
        return Lines(self.text)

    @cached_property
    def _heads(self) -> dict[str, list[int]]:
        """The lines of the tables in lists: those that every rule keeps, where they can be had for less."""
        found = heads(self.text)
        tables = {key: self.table.get(key) for key in found}
        return {key: found[key] for key, one in tables.items() if isinstance(one, list) and len(one) == len(found[key])}

    def place(self, path: Path) -> str:
        """File and line."""
        if len(path) == 2 and isinstance(path[1], int):
            lines = self._heads.get(str(path[0]))
            if lines is not None:
                return f"{self.where}:{lines[path[1]]}"
        return f"{self.where}:{self.lines.of(path)}"

    @cached_property
    def is_plain(self) -> bool:
        """Whether no text in it can name a variable."""
        return "${" not in self.text and "\\" not in self.text

    def error(self, path: Path, text: str) -> PolicyError:
        """An error that is about a key, a table or a member of a list."""
        return PolicyError(f"{self.place(path)}: {text}")


def nearest(word: str, known: Iterable[str]) -> str:
    """What may have been meant, as a question; or what there is."""
    known = sorted(known)
    near = get_close_matches(word.lower(), known, 1, 0.6)
    return f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"


def is_a(value: object, kind: type) -> bool:
    """Whether a value is of a type; to TOML, a boolean is no number."""
    return type(value) is kind or (isinstance(value, kind) and not isinstance(value, bool))


class Table:
    """A TOML table.

    @param path: where it is in the document.
    @param label: names it in errors, as C{"rule no-admin"}; empty for the document itself.
    @param known: its keys.
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
        """An error about the table, or about what is in it."""
        return self.document.error((*self.path, *key), f"{self._label}{text}")

    def get(self, key: str, kind: type[_T]) -> _T | None:
        """A value of one type; C{None} where there is none."""
        value = self.table.get(key)
        if value is not None and not is_a(value, kind):
            raise self.error(f"{key!r} must be {_NAMES[kind]}", key)
        return value

    def line(self, key: str) -> str | None:
        """A text of one line."""
        text = self.get(key, str)
        if text is not None and (not text.strip() or UNPRINTABLE.search(text)):
            raise self.error(f"{key!r} must be one line of text; leave it out, or write it in a few words", key)
        return text

    def verdict(self, key: str, *known: Verdict) -> Verdict | None:
        """One of some verdicts."""
        text = self.get(key, str)
        if text is None:
            return None
        for verdict in known:
            if verdict.value == text:
                return verdict
        *names, last = (f'"{verdict.value}"' for verdict in known)
        raise self.error(f"{key!r} must be {', '.join(names)} or {last}, not {text!r}", key)

    def read(self, key: str, read: Callable[[Any], _R]) -> _R | None:
        """A value that is read by a function, which raises C{ValueError} for what it cannot read."""
        value = self.table.get(key)
        return None if value is None else self.reading(read, value, f"{key!r}", key)

    def reading(self, read: Callable[[_T], _R], value: _T, what: str, *key: str | int) -> _R:
        """Read a value that is somewhere in the table."""
        try:
            return read(value)
        except (ValueError, InvalidTarget) as error:
            raise self.error(f"{what}: {error}", *key) from None

    def members(self, key: str) -> list[Any]:
        """A list that is not empty; an empty one where there is none."""
        if key not in self.table:
            return []
        values = self.get(key, list)
        if not values:
            raise self.error(f"{key!r} is empty and would match nothing; leave it out to match everything", key)
        return values

    def entries(self, key: str, kind: type[_T], read: Callable[[_T], _R]) -> tuple[_R, ...]:
        """A list whose members are all of one type, each read in turn."""
        if key not in self.table:
            return ()
        found = []
        for index, value in enumerate(self.members(key)):
            if not is_a(value, kind):
                raise self.error(f"{key!r} must be a list, and each entry {_NAMES[kind]}", key, index)
            found.append(self.reading(read, value, f"{key} {value!r}", key, index))
        return tuple(found)
