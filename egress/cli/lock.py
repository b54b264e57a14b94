"""C{egress lock}: records the destinations of a job, and finds new ones in the next run."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from egress.cli import audit_input as audit_files
from egress.cli.errors import Misused
from egress.cli.output import STDOUT, add_json, write_file, write_json
from egress.cli.parser import epilog
from egress.model.counted import counted
from egress.policy.learn.lockfile import (
    LOCK_FILE,
    Destination,
    Detail,
    Difference,
    Egress,
    Lock,
    LockFault,
    Visits,
    compare,
    in_lines,
    parse_lock,
)
from egress.runtime.colors import Color, Painter

_COLORS: Final = {"+": Color.RED, "-": Color.YELLOW, "!": Color.CYAN}
# A larger lock file is not one that was reviewed.
_MAX_LOCK: Final = 16 * 1024 * 1024


def add_parser(commands: Any) -> None:
    """Add C{lock} to the commands."""
    parser = commands.add_parser(
        "lock",
        help="record and verify the destinations of a job",
        description="Compares the destinations of a job with a lock file that you store next to the code.",
        epilog=epilog(
            ("Record the destinations of a job", "egress lock record audit.jsonl"),
            ("Fail if a later job has new destinations", "egress lock verify audit.jsonl"),
        ),
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)

    record = actions.add_parser(
        "record",
        help="write the lock file of an audit log",
        description="Writes the destinations of forwarded requests to the lock file, and replaces its content. With "
        "--lock -, writes to standard output.",
        epilog=epilog(
            ("Write egress.lock", "egress lock record audit.jsonl"),
            ("Compare hosts only", "egress lock record --detail host --lock hosts.lock audit.jsonl"),
            statuses={0: "the lock file is written", 2: "a file cannot be read or written"},
        ),
    )
    record.add_argument(
        "--detail",
        choices=[detail.value for detail in Detail],
        default=Detail.METHOD.value,
        help="the level at which two destinations differ: host (with scheme and port), method, or path "
        "[default: %(default)s]",
    )
    record.set_defaults(run=_record)

    verify = actions.add_parser(
        "verify",
        help="find destinations that are not in the lock file",
        description="Lists the destinations of an audit log that are not in the lock file (+), the destinations in the "
        "lock file without requests (-), and the destinations whose requests were denied (!).",
        epilog=epilog(
            ("Fail if there are new destinations", "egress lock verify audit.jsonl"),
            ("Fail also for refused requests", "egress lock verify --fail-on-refused audit.jsonl"),
            ("Accept new destinations", "egress lock verify --update audit.jsonl"),
            statuses={0: "no new destinations", 1: "new destinations", 2: "a file cannot be read"},
        ),
    )
    verify.add_argument(
        "--strict", action="store_true", help="exit with status 1 also for destinations without requests"
    )
    verify.add_argument(
        "--fail-on-refused",
        action="store_true",
        help="exit with status 1 also for requests that were denied or rejected",
    )
    verify.add_argument(
        "--update", action="store_true", help="add new destinations to the lock file, and exit with status 0"
    )
    verify.set_defaults(run=_verify)

    for action in (record, verify):
        action.add_argument("--lock", default=LOCK_FILE, metavar="FILE", help="the lock file [default: %(default)s]")
        add_json(action)
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
        if given.json:
            raise Misused("--json: standard output has the lock file: remove it, or set --lock to a file")
        out.write(lock.write())
        return
    write_file(Path(given.lock), lock.write())
    stopped = compare(lock, found).stopped
    if given.json:
        write_json(
            out, {"lock": given.lock, "destinations": len(lock.destinations), "refused": list(map(_visited, stopped))}
        )
        return
    _print(out, environ, in_lines(Difference((), (), stopped)))
    print(f"{given.lock}: {counted(len(lock.destinations), 'destination')}", file=out)


def _verify(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    path = Path(given.lock)
    lock = read_lock(path)
    found = _egress(given, lock.detail, whole=True)
    difference = compare(lock, found)
    new, unseen = len(difference.new), len(difference.unseen)
    updates = bool(given.update and new)
    if updates:
        write_file(path, Lock(lock.detail, lock.destinations | {one for one, _ in difference.new}).write())
    refused = len(difference.stopped) if given.fail_on_refused else 0
    failed = bool((new and not updates) or refused or (given.strict and unseen))
    if given.json:
        write_json(out, _as_json(path, difference, len(found.left), updates=updates, failed=failed))
        return int(failed)
    _print(out, environ, in_lines(difference))
    if updates:
        print(f"{path}: {counted(new, 'new destination')} added", file=out)
    elif new:
        print(
            f"{path}: {counted(new, 'new destination')}; if intended, add with: egress lock verify --update",
            file=out,
        )
    else:
        print(f"{path}: {counted(len(found.left), 'destination')}, none of them new", file=out)
    if given.strict and unseen:
        print(f"{path}: {counted(unseen, 'destination')} without requests, which --strict does not permit", file=out)
    if refused:
        print(
            f"{path}: {counted(refused, 'destination')} with refused requests, which --fail-on-refused does not permit",
            file=out,
        )
    return int(failed)


def _as_json(path: Path, difference: Difference, requested: int, *, updates: bool, failed: bool) -> dict[str, object]:
    return {
        "lock": str(path),
        "destinations": requested,
        "new": list(map(_visited, difference.new)),
        "unseen": list(map(_described, difference.unseen)),
        "refused": list(map(_visited, difference.stopped)),
        "updated": updates,
        "failed": failed,
    }


def _described(one: Destination) -> dict[str, object]:
    return {"method": one.method, "url": one.where}


def _visited(found: tuple[Destination, Visits]) -> dict[str, object]:
    one, visits = found
    return {**_described(one), "requests": visits.count, "first": visits.first, "example": visits.example}


def read_lock(path: Path) -> Lock:
    """Read a lock file.

    @raise Misused: if it cannot be used.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_LOCK + 1)
        if len(data) > _MAX_LOCK:
            raise Misused(f"{path}: has more than {_MAX_LOCK} bytes, so it is not a lock file")
        return parse_lock(data.decode("utf-8"), str(path))
    except FileNotFoundError as error:
        raise Misused(f"{path}: does not exist; create it with: egress lock record") from error
    except OSError as error:
        raise Misused(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misused(f"{path}: is not UTF-8; create it again with: egress lock record") from error
    except LockFault as error:
        raise Misused(str(error)) from error


def _print(out: TextIO, environ: Mapping[str, str], lines: Iterable[str]) -> None:
    painter = Painter.of(out, environ)
    for line in lines:
        print(painter.paint(line, _COLORS[line[0]]), file=out)
