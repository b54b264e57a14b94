"""C{egress logs}: searches the audit store."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TextIO

from egress import __version__
from egress.cli import logs_verify
from egress.cli.errors import CommandFailed
from egress.cli.logs_summary import summarize, to_markdown, to_text
from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import Parser, epilog
from egress.cli.stored import add_store_options, location, opened_store
from egress.observability.audit_log import fields_line
from egress.observability.ocsf import ocsf_event
from egress.runtime.colors import Color, Painter
from egress.store.columns import COLUMNS
from egress.store.filter_language import FIELDS, Condition, Equals, Filter, FilterError, parse_filter
from egress.store.interfaces import IAuditStore, StoreError, StoreUnreachable
from egress.store.location import migrate

# A negated condition is not an option.
_NEGATED: Final = re.compile(f'-(?:{"|".join(FIELDS)}):|-"', re.IGNORECASE)
_LIMIT: Final = 100
_TAIL: Final = 20
_TOP: Final = 10
_POLL_SECONDS: Final = 0.5
# Only gRPC calls have the last key.
_CSV_COLUMNS: Final = ("time", *COLUMNS, "grpc")
# The records of a store that several proxies share.
_ORIGIN: Final = ("node", "worker")
_COLORS: Final = {"allow": Color.GREEN, "deny": Color.RED}

_EXPRESSION: Final = (
    f"A filter has conditions that a record must all meet: field:value with the fields {', '.join(FIELDS)}, or a text. "
    "A comma separates values, of which one must match. - negates a condition."
)

Run = Callable[[argparse.Namespace, IAuditStore, Filter, Mapping[str, str], TextIO], None]


def add_parser(commands: Any) -> None:
    """Add C{logs} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "logs",
        help="search the audit store of a proxy",
        description="Searches the audit store, which the proxy writes with --audit-store.",
        epilog=epilog(
            ("Find the denied requests of the last hour", "egress logs search verdict:deny since:1h"),
            ("Print each new record", "egress logs tail -f"),
            ("Show the record of a request", "egress logs show 3f9c02a17be4"),
            ("Count the records of a host", "egress logs stats host:api.example"),
            text=_EXPRESSION,
        ),
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    search = _add(
        actions,
        "search",
        _search,
        "find records, the newest first",
        ("Find denied requests to a host", "egress logs search host:api.example verdict:deny since:1h"),
        ("Find failed writes, and a text", "egress logs search method:POST,PUT status:5xx 'quota exceeded'"),
        ("Leave out a rule", "egress logs search verdict:deny -rule:no-admin"),
    )
    add_json(search)
    _add_limit(search, _LIMIT)
    tail = _add(
        actions,
        "tail",
        _tail,
        "print the newest records, the newest last",
        ("Print each new denial", "egress logs tail -f verdict:deny"),
    )
    tail.add_argument("-f", "--follow", action="store_true", help="continue with each new record, until Ctrl-C")
    tail.add_argument("--json", action="store_true", help="write one JSON object per line")
    tail.add_argument("--ocsf", action="store_true", help="write one OCSF event per line, for a SIEM")
    _add_limit(tail, _TAIL)
    show = _add(
        actions,
        "show",
        _show,
        "show a record",
        ("Show the record of a request", "egress logs show 3f9c02a17be4"),
        expression=False,
    )
    show.add_argument("id", metavar="ID", help="the id of the request, as in an error response or a record")
    add_json(show)
    stats = _add(
        actions,
        "stats",
        _stats,
        "count records by verdict, host and rule",
        ("Count the records of the last day", "egress logs stats since:1d"),
    )
    add_json(stats)
    summary = _add(
        actions,
        "summary",
        _summary,
        "report all and denied requests by verdict, host and rule",
        ("Write a report of the last day for a job or a ticket", "egress logs summary --markdown since:1d"),
    )
    summary.add_argument("--markdown", action="store_true", help="write Markdown")
    add_json(summary)
    _add(
        actions,
        "export",
        _export,
        "write all matching records, the oldest first",
        ("Generate a policy from the last week", "egress logs export jsonl since:7d | egress policy suggest -"),
        ("Write a table", "egress logs export csv host:api.example > api.csv"),
        ("Write the events of an hour for a SIEM", "egress logs export ocsf since:1h"),
        formats=True,
    )
    logs_verify.add_parser(actions)
    tables: argparse.ArgumentParser = actions.add_parser(
        "migrate",
        help="create or update the tables, as their owner",
        description="Creates or updates the tables of the audit store. The proxy does that itself if its role can: use "
        "this command if the tables have another owner.",
        epilog=epilog(("Create the tables", "egress logs migrate --audit-store postgresql://owner@db.example/audit")),
    )
    tables.set_defaults(run=_migrate)
    add_json(tables)
    add_store_options(tables)


def _add(
    actions: Any,
    name: str,
    run: Run,
    text: str,
    *examples: tuple[str, str],
    expression: bool = True,
    formats: bool = False,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog(*examples, text=_EXPRESSION if expression else ""),
    )
    parser.set_defaults(run=lambda given, environ, out: _run(run, given, environ, out), filter=[])
    if formats:
        parser.add_argument(
            "format",
            choices=["csv", "jsonl", "ocsf"],
            help="jsonl: the lines of an audit log; ocsf: one OCSF event per line",
        )
    if expression:
        assert isinstance(parser, Parser)
        parser.values = _NEGATED
        parser.add_argument("filter", metavar="FILTER", nargs="*", help="a condition [default: every record]")
    add_store_options(parser)
    return parser


def _add_limit(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "-n",
        "--limit",
        type=_number,
        default=default,
        metavar="N",
        help="the maximum number of records [default: %(default)s]",
    )


def _number(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text[:10]) <= 1_000_000:
        return int(text)
    raise argparse.ArgumentTypeError("write a number from 1 to 1000000")


def _run(run: Run, given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    # The shell removes quotes around a condition with a space: it is one text.
    expression = " ".join(map(_quoted, given.filter))
    try:
        wanted = parse_filter(expression, time.time())
    except FilterError as error:
        raise CommandFailed(f"the filter {expression!r}: {error}") from error
    try:
        with opened_store(given, environ) as store:
            run(given, store, wanted, environ, out)
    except StoreError as error:
        raise CommandFailed(str(error)) from error


def _quoted(argument: str) -> str:
    """Restore the quotes of a text with spaces, which the shell has removed."""
    if not any(char.isspace() for char in argument) or '"' in argument or _has_field(argument):
        return argument
    minus = "-" if argument.startswith("-") else ""
    return f'{minus}"{argument.removeprefix("-")}"'


def _has_field(argument: str) -> bool:
    return any(f"{field}:" in argument for field in FIELDS)


def _migrate(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    place, password = location(given, environ)
    try:
        migrate(place, password)
    except (StoreError, OSError) as error:
        raise CommandFailed(str(error)) from error
    if given.json:
        write_json(out, {"store": place, "migrated": True})
    else:
        print(f"{place}: the tables have the version of this program", file=out)


# -- actions


def _search(
    given: argparse.Namespace, store: IAuditStore, wanted: Filter, environ: Mapping[str, str], out: TextIO
) -> None:
    found = store.search(wanted, given.limit)
    if given.json:
        write_json(out, {"records": list(found)})
    else:
        _write_lines(found, Painter.of(out, environ), out)


def _tail(
    given: argparse.Namespace, store: IAuditStore, wanted: Filter, environ: Mapping[str, str], out: TextIO
) -> None:
    painter = Painter.of(out, environ)

    def write(records: Iterable[Mapping[str, Any]]) -> None:
        if given.ocsf:
            _write_ocsf(records, out)
        elif given.json:
            _write_jsonl(records, out)
        else:
            _write_lines(records, painter, out)
        out.flush()

    last = store.last_seq()
    write(reversed(list(store.search(wanted, given.limit))))
    lost = False
    while given.follow:
        try:
            last, records = store.written_after(wanted, last)
        except StoreUnreachable as error:
            # No record is missed: the numbers continue.
            if not lost:
                print(f"egress: {error}; trying again", file=sys.stderr)
            lost, records = True, []
        else:
            lost = False
        write(records)
        if not records:
            time.sleep(_POLL_SECONDS)


def _show(
    given: argparse.Namespace, store: IAuditStore, wanted: Filter, environ: Mapping[str, str], out: TextIO
) -> None:
    record = next(iter(store.search(Filter((Condition("id", (Equals(given.id),)),)), 1)), None)
    if record is None:
        raise CommandFailed(f"there is no record with the id {given.id!r}: egress logs search lists records")
    if given.json:
        write_json(out, record)
        return
    painter = Painter.of(out, environ)
    shown = {**record, "phases": ", ".join(f"{name} {ms} ms" for name, ms in record["phases"]) or None}
    for key in ("requestHeaders", "responseHeaders"):
        shown[key] = None if record[key] is None else "; ".join(": ".join(filter(None, each)) for each in record[key])
    call = record.get("grpc")
    if call is not None:
        shown["grpc"] = f"{call['service']}/{call['method']} {call['status'] or 'unknown'}"
    for name, value in shown.items():
        if value is not None:
            print(f"{painter.paint(f'{name:<15}', Color.BOLD)} {plain(str(value))}", file=out)


def _stats(
    given: argparse.Namespace, store: IAuditStore, wanted: Filter, environ: Mapping[str, str], out: TextIO
) -> None:
    found = store.statistics(wanted, _TOP)
    if given.json:
        write_json(out, found)
        return
    print(f"records: {found['records']}", file=out)
    if found["records"]:
        print(f"from {found['first']} to {found['last']}", file=out)
        print(f"content: {found['bytesSent']} bytes sent, {found['bytesReceived']} bytes received", file=out)
    painter = Painter.of(out, environ)
    for title in ("verdicts", "hosts", "rules"):
        if found[title]:
            print(f"\n{painter.paint(title, Color.BOLD)}", file=out)
        for each in found[title]:
            print(f"{each['records']:>10}  {plain(each['name'])}", file=out)


def _summary(
    given: argparse.Namespace, store: IAuditStore, wanted: Filter, environ: Mapping[str, str], out: TextIO
) -> None:
    found = summarize(store, wanted)
    if given.json:
        write_json(out, found)
    else:
        out.write(to_markdown(found) if given.markdown else to_text(found))


def _export(
    given: argparse.Namespace, store: IAuditStore, wanted: Filter, environ: Mapping[str, str], out: TextIO
) -> None:
    records = store.search(wanted, None, oldest_first=True)
    if given.format != "csv":
        (_write_ocsf if given.format == "ocsf" else _write_jsonl)(records, out)
        return
    writer: Any = None
    columns: tuple[str, ...] = ()
    for record in records:
        if writer is None:
            writer = csv.writer(out, lineterminator="\n")
            columns = (*_CSV_COLUMNS, *(name for name in _ORIGIN if name in record))
            writer.writerow(columns)
        writer.writerow(_cell(record.get(name)) for name in columns)


def _cell(value: object) -> object:
    """Return the value of a cell, which no spreadsheet takes for a formula."""
    if isinstance(value, (list, dict)):
        return json.dumps(value, separators=(",", ":"))
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _write_jsonl(records: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    for record in records:
        out.write(fields_line(record).decode("ascii"))


def _write_ocsf(records: Iterable[Mapping[str, Any]], out: TextIO) -> None:
    for record in records:
        out.write(fields_line(ocsf_event(record, __version__)).decode("ascii"))


def _write_lines(records: Iterable[Mapping[str, Any]], painter: Painter, out: TextIO) -> None:
    for record in records:
        print(in_line(record, painter), file=out)


def in_line(record: Mapping[str, Any], painter: Painter) -> str:
    """Write a record as one line for people."""
    color = _COLORS.get(record["verdict"], Color.YELLOW)
    verdict = painter.paint(f"{record['verdict']:<8}", color)
    status = "-" if record["status"] is None else record["status"]
    request = plain(f"{record['method']} {record['url']}".strip())
    if record["verdict"] == "allow" and record["outcome"] == "forwarded":
        why = ""
    else:
        rule = "" if record["ruleId"] is None else f"{record['ruleId']}: "
        why = f"  ({plain(rule + record['reason'])})"
    node = f" via {plain(record['node'])}" if "node" in record else ""
    when = painter.paint(record["time"], Color.DIM)
    return f"{when} {verdict} {status!s:>3} {request}{why}  {record['requestId']}{node}"
