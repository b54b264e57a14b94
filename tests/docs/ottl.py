"""An interpreter of the statements in C{deploy/siem/otel-collector.yaml}, a small part of OTTL.

OTTL is the language of the transform processor of the OpenTelemetry Collector.  A statement is C{set(path, value) where
condition}.  Here are its functions that the file uses, with the rules that matter: a value that is C{nil} sets nothing,
a path that does not exist is created, and numbers of JSON are floating-point numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[A-Za-z_]\w*|\d+(?:\.\d+)?|[!=]=|[\[\](),+<>])')
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, other: bool(one == other),
    "!=": lambda one, other: bool(one != other),
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
}


class _Program:
    """One statement, parsed and run in one pass; a value is computed even if the condition is false."""

    def __init__(self, text: str, roots: dict[str, Any]) -> None:
        self._tokens = _TOKEN.findall(text)
        if "".join(self._tokens) != re.sub(r'\s+(?=(?:[^"]*"[^"]*")*[^"]*$)', "", text):
            raise ValueError(f"not understood: {text}")
        self._roots = roots
        self._at = 0

    def run(self) -> None:
        name = self._take()
        if name == "keep_keys":
            self._expect("(", "attributes", ",", "[", "]", ")")
            self._roots["attributes"] = {}
            return
        if name == "merge_maps":
            self._expect("(", "attributes", ",", "body", ",", '"upsert"', ")", "where")
            if self._disjunction():
                self._roots["attributes"].update(self._roots["body"])
            return
        self._expect("(")
        root, keys = self._path()
        self._expect(",")
        value = self._sum()
        self._expect(")")
        if self._peek() == "where":
            self._take()
            if not self._disjunction():
                value = None
        if self._at != len(self._tokens):
            raise ValueError(f"not understood: {self._tokens[self._at :]}")
        if value is None:
            return
        if not keys:
            self._roots[root] = value
            return
        place = self._roots[root]
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = value

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _expect(self, *tokens: str) -> None:
        for token in tokens:
            if self._take() != token:
                raise ValueError(f"expected {token}")

    def _path(self) -> tuple[str, list[str]]:
        root, keys = self._take(), []
        if root not in self._roots:
            raise ValueError(f"unknown path {root}")
        while self._peek() == "[":
            self._take()
            keys.append(json.loads(self._take()))
            self._expect("]")
        return root, keys

    def _disjunction(self) -> bool:
        found = self._conjunction()
        while self._peek() == "or":
            self._take()
            found = self._conjunction() or found
        return found

    def _conjunction(self) -> bool:
        found = self._comparison()
        while self._peek() == "and":
            self._take()
            found = self._comparison() and found
        return found

    def _comparison(self) -> bool:
        one = self._sum()
        if self._peek() not in _COMPARISONS:
            return bool(one)
        return _COMPARISONS[self._take()](one, self._sum())

    def _sum(self) -> Any:
        found = self._value()
        while self._peek() == "+":
            self._take()
            found += self._value()
        return found

    def _value(self) -> Any:
        token = self._peek()
        if token.startswith('"'):
            return json.loads(self._take())
        if token[0].isdigit():
            self._take()
            return float(token) if "." in token else int(token)
        if token == "nil":
            self._take()
            return None
        if token == "[":
            return self._list("]")
        if token in _FUNCTIONS:
            self._take()
            return _FUNCTIONS[token](*self._list(")"))
        root, keys = self._path()
        found: Any = self._roots[root]
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def _list(self, end: str) -> list[Any]:
        self._take()
        found = []
        while self._peek() != end:
            found.append(self._sum())
            if self._peek() == ",":
                self._take()
        self._take()
        return found


def _extract(text: str | None, pattern: str) -> dict[str, str] | None:
    if text is None:
        return None
    match = re.search(pattern, text)
    return {} if match is None else {name: value or "" for name, value in match.groupdict().items()}


def _time(text: str, layout: str, zone: str) -> datetime:
    assert zone == "UTC"
    moment = datetime.strptime(text, layout.replace("%L", "%f"))
    return moment.replace(tzinfo=timezone.utc)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Int": lambda value: None if value in (None, "") else int(value),
    "IsMap": lambda value: isinstance(value, Mapping),
    "Time": _time,
    "UnixMilli": lambda moment: round(moment.timestamp() * 1000),
    "ExtractPatterns": _extract,
}


def transform(statements: list[str], attributes: Mapping[str, Any], body: Any) -> Any:
    """Run statements on a log record.

    @return: the body of the log record.
    """
    roots: dict[str, Any] = {"attributes": dict(attributes), "cache": {}, "body": body}
    for statement in statements:
        _Program(statement, roots).run()
    assert roots["attributes"] == {}
    return roots["body"]


def parsed(line: bytes) -> dict[str, Any]:
    """Return the attributes of a line of JSON, as the receiver of files parses it."""
    found: dict[str, Any] = json.loads(line, parse_int=float)
    return found
