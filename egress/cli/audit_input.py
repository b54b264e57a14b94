"""Audit logs as the input of commands, read line by line, never as a whole in memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from egress.cli.errors import Misused
from egress.cli.progress import Progress, progress
from egress.config.load import load_config
from egress.config.model import ConfigError
from egress.observability.audit_log import fields_line
from egress.policy.learn.audit_reader import MAX_LINE, AuditLine, Notes, read_lines
from egress.store.filter_language import Filter
from egress.store.interfaces import StoreError
from egress.store.location import is_location, store_to_read

STDIN: Final = "-"


def add_argument(parser: Any) -> None:
    """Add the files to the arguments of a command."""
    parser.add_argument(
        "audit",
        metavar="AUDIT.jsonl",
        nargs="+",
        help="a file that --audit-log has written, or an audit store, sqlite:FILE or postgresql://...; - is standard "
        "input",
    )


def read_audit(names: Sequence[str], *, whole: bool = False) -> Iterator[AuditLine]:
    """Read audit logs; report unreadable lines on standard error.

    @param names: the names of the files, or the locations of audit stores; C{"-"} for standard input.
    @param whole: whether every line must be valid.
    @raise Misused: when a file cannot be read, or has no line of an audit log.
    """
    with progress("reading", _size(names)) as reading:
        for name in names:
            yield from _read(name, reading, whole=whole)


def _read(name: str, reading: Progress, *, whole: bool) -> Iterator[AuditLine]:
    notes = Notes()
    if name == STDIN:
        yield from read_lines(_lines(sys.stdin.buffer, reading), notes)
    elif is_location(name):
        yield from read_lines(_stored(name, reading), notes)
    else:
        try:
            with Path(name).open("rb") as file:
                yield from read_lines(_lines(file, reading), notes)
        except OSError as error:
            raise Misused(f"{name}: cannot be read: {error.strerror}; specify a file of --audit-log") from error
    if not notes.lines:
        # Otherwise a job that bypassed the proxy would look like a job without violations.
        print(f"egress: {name}: is empty; does the job use the proxy?", file=sys.stderr)
    if notes.bad:
        if notes.bad == notes.lines:
            raise Misused(f"{name}: is not an audit log: {notes.describe()}")
        if whole:
            raise Misused(f"{name}: {notes.describe()}; without them, nothing can be verified")
        print(f"egress: {name}: {notes.describe()}", file=sys.stderr)


def _size(names: Sequence[str]) -> int | None:
    """Return the size of all files; C{None} if it is unknown."""
    if any(name == STDIN or is_location(name) for name in names):
        return None
    try:
        return sum(Path(name).stat().st_size for name in names)
    except OSError:
        # Reading the file reports it.
        return None


def _stored(location: str, reading: Progress) -> Iterator[bytes]:
    """Yield the records of an audit store as lines of an audit log, the oldest first."""
    try:
        store = store_to_read(location, _password(location))
        try:
            for fields in store.search(Filter(), None, True):
                line = fields_line(fields)
                reading.advance(len(line))
                yield line
        finally:
            store.close()
    except StoreError as error:
        raise Misused(str(error)) from error


def _password(location: str) -> str | None:
    """Return the password for the server of an audit store, from the variables of the proxy."""
    fields = ("audit_store", "audit_store_password")
    try:
        return load_config({"audit-store": [location]}, os.environ, only=fields).audit_store_password
    except ConfigError as error:
        raise Misused(str(error)) from error


def _lines(file: BinaryIO, reading: Progress) -> Iterator[bytes]:
    """Yield each line; of a line that is too long, only its beginning."""
    while line := file.readline(MAX_LINE + 1):
        reading.advance(len(line))
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE + 1)
