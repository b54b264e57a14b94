"""The line numbers of keys and tables in a TOML document, which TOML parsers do not provide."""

from __future__ import annotations

import re
from bisect import bisect_right
from contextlib import suppress
from typing import Final

from egress.model.toml import parse_toml

Path = tuple[str | int, ...]
"""A path in a document: the keys of tables and the indexes of lists."""

_BASIC: Final = r'"(?:[^"\\\n]|\\.)*"'
_LITERAL: Final = r"'[^'\n]*'"
# A multi-line string can have up to two quotes before its closing delimiter.
_STRING: Final = re.compile(
    rf'"""(?:\\.|[^\\])*?"""(?:"{{0,2}})|\'\'\'.*?\'\'\'(?:\'{{0,2}})|{_BASIC}|{_LITERAL}', re.DOTALL
)
_PART: Final = re.compile(rf"[ \t]*([A-Za-z0-9_-]+|{_BASIC}|{_LITERAL})[ \t]*")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_WORD: Final = re.compile(r"[^,\]}\n#]+")
_HEAD: Final = re.compile(r"^[ \t]*\[\[[ \t]*([A-Za-z0-9_-]+)[ \t]*\]\]", re.MULTILINE)


class Lines:
    """The line numbers of a document.

    @param text: a document that a TOML parser accepted; for other text, the results are not reliable.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._at: dict[Path, int] = {}
        self._lengths: dict[Path, int] = {}
        # The document was not accepted, or is nested too deeply.
        with suppress(IndexError, ValueError, RecursionError):
            self._document()

    def of(self, path: Path) -> int:
        """Return the line of a key, a table or a list member, from 1; without an entry, the line of its parent."""
        for length in range(len(path), 0, -1):
            at = self._at.get(path[:length])
            if at is not None:
                return bisect_right(self._breaks, at - 1) + 1
        return 1

    def _blank(self, at: int) -> int:
        match = _BLANK.match(self._text, at)
        return at if match is None else match.end()

    def _document(self) -> None:
        text = self._text
        table: Path = ()
        at = self._blank(0)
        while at < len(text):
            if text[at] == "[":
                is_list = text[at : at + 2] == "[["
                keys, end = self._key(at + 1 + is_list)
                table = self._table(keys, at, is_list)
                at = end + 1 + is_list
            else:
                at = self._pair(table, at)
            at = self._blank(at)

    def _table(self, keys: list[str], at: int, is_list: bool) -> Path:
        """Record the head of a table, and return the path of the table: for a list of tables, the last one."""
        path: Path = ()
        for key in keys[:-1]:
            path = self._inside((*path, key), at)
        path = (*path, keys[-1])
        if is_list:
            length = self._lengths.get(path, 0)
            self._lengths[path] = length + 1
            self._at.setdefault(path, at)
            path = (*path, length)
        self._at[path] = at
        return path

    def _inside(self, path: Path, at: int) -> Path:
        self._at.setdefault(path, at)
        length = self._lengths.get(path)
        return path if length is None else (*path, length - 1)

    def _key(self, at: int) -> tuple[list[str], int]:
        keys = []
        while True:
            match = _PART.match(self._text, at)
            if match is None:
                raise ValueError("no key")
            keys.append(_name(match[1]))
            at = match.end()
            if self._text[at] != ".":
                return keys, at
            at += 1

    def _pair(self, table: Path, at: int) -> int:
        """Parse a key and its value.

        @return: the position after the value.
        """
        keys, end = self._key(at)
        path = table
        for key in keys:
            path = (*path, key)
            self._at.setdefault(path, at)
        return self._value(path, self._blank(end + 1))

    def _value(self, path: Path, at: int) -> int:
        text = self._text
        match = _STRING.match(text, at)
        if match is not None:
            return match.end()
        if text[at] == "[":
            return self._list(path, at + 1)
        if text[at] == "{":
            return self._inline(path, at + 1)
        word = _WORD.match(text, at)
        if word is None:
            raise ValueError("no value")
        return word.end()

    def _list(self, path: Path, at: int) -> int:
        index = 0
        while self._text[at := self._blank(at)] != "]":
            self._at[(*path, index)] = at
            index += 1
            at = self._blank(self._value((*path, index - 1), at))
            at += self._text[at] == ","
        return at + 1

    def _inline(self, path: Path, at: int) -> int:
        while self._text[at := self._blank(at)] != "}":
            at = self._blank(self._pair(path, at))
            at += self._text[at] == ","
        return at + 1


def heads(text: str) -> dict[str, list[int]]:
    """Return the lines of the heads of lists of tables, such as C{[[rules]]}, without parsing the rest.

    A list is complete if it has as many heads as the document has tables in it.  If the text contains a multi-line
    string, the result is empty, because text in the string could look like a head.
    """
    found: dict[str, list[int]] = {}
    if '"""' in text or "'''" in text:
        return found
    line, at = 1, 0
    for match in _HEAD.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        found.setdefault(match[1], []).append(line)
    return found


def _name(raw: str) -> str:
    if raw[0] == '"' and "\\" in raw:
        return str(parse_toml(f"name = {raw}")["name"])
    return raw[1:-1] if raw[0] in "\"'" else raw
