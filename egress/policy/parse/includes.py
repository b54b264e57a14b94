"""The documents of a policy: a file and the files that it includes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from egress.model.toml import NotToml, parse_toml
from egress.policy.parse.toml_reader import Document, PolicyError, Table

# The position at which the TOML parser stopped.
_AT_LINE: Final = re.compile(r"\(at line ([0-9]+), column [0-9]+\)")

MAX_DEPTH: Final = 10
MAX_FILES: Final = 200

# Only the main file may contain the remaining keys: an included file affects only its own rules.
_INCLUDED: Final = frozenset({"version", "include", "groups", "variables", "rules", "test"})
_ROOT: Final = _INCLUDED | {"default", "private_addresses", "timezone", "ttl"}


def parse_document(text: str, where: str, file: Path | None = None) -> Document:
    """Parse one document.

    @raise PolicyError: if the text is not TOML, or its version is not supported.
    """
    try:
        table = parse_toml(text)
    except NotToml as error:
        found = _AT_LINE.search(str(error))
        line = "" if found is None else f":{found[1]}"
        raise PolicyError(f"{where}{line}: is not TOML: {error}") from None
    document = Document(where, text, table, file)
    version = table.get("version")
    if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
        raise document.error(("version",), "'version' must be a whole number")
    if version != 1:
        given = "is missing" if version is None else f"is {version}, which this proxy does not support"
        raise document.error(("version",), f"'version' {given}; write version = 1")
    return document


def read_document(path: Path, where: str) -> Document:
    """Parse one file.

    @raise PolicyError: if the file cannot be read or parsed.
    """
    return decode_document(read_file(path, where), where, path)


def read_file(path: Path, where: str) -> bytes:
    """Read one file.

    @raise PolicyError: if the file cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise PolicyError(f"{where}: cannot be read: {getattr(error, 'strerror', error)}") from error


def decode_document(content: bytes, where: str, file: Path | None = None) -> Document:
    """Parse the content of one file.

    @raise PolicyError: if the content cannot be parsed.
    """
    try:
        # With the line ends of the file: its digest is that of its bytes.
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PolicyError(f"{where}: is not UTF-8; save it as UTF-8 text") from error
    return parse_document(text, where, file)


ReadDocument = Callable[[Path, str], Document]
"""Parses one file; see L{read_document}."""


def resolve_includes(root: Document, read: ReadDocument = read_document) -> tuple[Document, ...]:
    """Return a document and the documents that it includes, in the order of their rules: included documents come first.

    A file that is included twice takes its first position.

    @param root: the document.
    @param read: parses an included file.

    @raise PolicyError: if a file cannot be read or parsed, or the files include each other in a cycle.
    """
    found: dict[Path | None, Document] = {}
    _collect(root, (), found, read)
    return tuple(found.values())


def _collect(
    document: Document, including: tuple[Path | None, ...], found: dict[Path | None, Document], read: ReadDocument
) -> None:
    known = _INCLUDED if including else _ROOT
    for key in document.table:
        if key in _ROOT - known:
            raise document.error((key,), f"{key!r} is permitted only in the file that includes the others")
    table = Table(document, (), "", document.table, known)
    own = document.file.resolve() if document.file is not None else None
    for index, entry in enumerate(table.get("include", list) or ()):
        if not isinstance(entry, str):
            raise table.error("'include' must be a list, and each entry a string", "include", index)
        if document.file is None:
            raise table.error("'include' is permitted only in a file", "include")
        path = document.file.parent / entry
        resolved = _resolved(table, path, index)
        trail = (*including, own)
        if resolved in trail:
            raise table.error(f"include {entry!r}: the files include each other in a circle", "include", index)
        if resolved in found:
            continue
        if len(trail) > MAX_DEPTH or len(found) + len(trail) >= MAX_FILES:
            raise table.error(f"include {entry!r}: more than {MAX_DEPTH} levels or {MAX_FILES} files", "include")
        try:
            other = read(path, str(path))
        except PolicyError as error:
            raise table.error(f"include: {error.reason}", "include", index) from None
        _collect(other, trail, found, read)
    found[own] = document


def _resolved(table: Table, path: Path, index: int) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        raise table.error(f"include: {str(path)!r} cannot be read", "include", index) from None
