"""C{egress lock}: records the destinations of a job, and finds new ones in the next run."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from egress.cli import audit_input as audit_files
from egress.cli.errors import Misused
from egress.cli.output import STDOUT, write_file
from egress.policy.learn.lockfile import (
    LOCK_FILE,
    Detail,
    Difference,
    Egress,
    Lock,
    LockFault,
    compare,
    in_lines,
    parse_lock,
)

_COLORS: Final = {"+": "\x1b[31m", "-": "\x1b[33m", "!": "\x1b[36m"}
_PLAIN: Final = "\x1b[0m"
# A larger lock file is not one that was reviewed.
_MAX_LOCK: Final = 16 * 1024 * 1024


def add_parser(commands: Any) -> None:
    """Add C{lock} to the commands."""
    parser = commands.add_parser(
        "lock",
        help="where the requests of a job go: record it, verify it",
        description="Keeps a list of destinations beside the code, and says which requests went elsewhere.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    record = actions.add_parser(
        "record",
        help="write the lock of an audit log",
        description="Writes the destinations of what left into a lock file, in place of what was in it; with --lock -, "
        "to standard output. The status is 2 when something cannot be read or written.",
    )
    record.add_argument(
        "--detail",
        choices=[detail.value for detail in Detail],
        default=Detail.METHOD.value,
        help="what makes two destinations different: scheme, host and port; the method, too; or the path as well "
        "[default: %(default)s]",
    )
    record.set_defaults(run=_record)

    verify = actions.add_parser(
        "verify",
        help="find what is not in the lock",
        description="Says which destinations of an audit log are not in the lock (+), which of the lock were not seen "
        "(-), and to which nothing went since it was refused (!). The status is 1 when there are new ones, 2 when "
        "something cannot be read.",
    )
    verify.add_argument("--strict", action="store_true", help="status 1 also for destinations that were not seen")
    verify.add_argument("--update", action="store_true", help="add what is new to the lock; the status is 0 then")
    verify.set_defaults(run=_verify)

    for action in (record, verify):
        action.add_argument("--lock", default=LOCK_FILE, metavar="FILE", help="the lock [default: %(default)s]")
        audit_files.add_argument(action)


def _egress(given: argparse.Namespace, detail: Detail, *, whole: bool = False) -> Egress:
    found = Egress(detail)
    for line in audit_files.read_audit(given.audit, whole=whole):
        found.add(line)
    return found


def _record(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    found = _egress(given, Detail(given.detail))
    lock = found.lock()
    if given.lock == STDOUT:
        out.write(lock.write())
        return
    write_file(Path(given.lock), lock.write())
    _print(out, environ, in_lines(Difference((), (), compare(lock, found).stopped)))
    print(f"{given.lock}: {_destinations(len(lock.destinations))}", file=out)


def _verify(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    path = Path(given.lock)
    lock = _read(path)
    found = _egress(given, lock.detail, whole=True)
    difference = compare(lock, found)
    _print(out, environ, in_lines(difference))
    new, unseen = len(difference.new), len(difference.unseen)
    if given.update and new:
        write_file(path, Lock(lock.detail, lock.destinations | {one for one, _ in difference.new}).write())
        print(f"{path}: {_destinations(new, 'new ')} added", file=out)
        new = 0
    elif new:
        print(f"{path}: {_destinations(new, 'new ')}; if meant, add with: egress lock verify --update", file=out)
    else:
        print(f"{path}: nothing new, {_destinations(len(found.left))} seen", file=out)
    if given.strict and unseen:
        print(f"{path}: {_destinations(unseen)} not seen, which --strict does not let pass", file=out)
    return int(bool(new or (given.strict and unseen)))


def _read(path: Path) -> Lock:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LOCK + 1)
        if len(data) > _MAX_LOCK:
            raise Misused(f"{path}: is over {_MAX_LOCK} bytes, and no lock")
        return parse_lock(data.decode("utf-8"), str(path))
    except FileNotFoundError as error:
        raise Misused(f"{path}: is not there; make it with: egress lock record") from error
    except OSError as error:
        raise Misused(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misused(f"{path}: is not UTF-8; record it anew") from error
    except LockFault as error:
        raise Misused(str(error)) from error


def _destinations(number: int, what: str = "") -> str:
    return f"{number:,} {what}destination{'' if number == 1 else 's'}"


def _print(out: TextIO, environ: Mapping[str, str], lines: Iterable[str]) -> None:
    colored = out.isatty() and "NO_COLOR" not in environ and environ.get("TERM") != "dumb"
    for line in lines:
        print(f"{_COLORS[line[0]]}{line}{_PLAIN}" if colored else line, file=out)
