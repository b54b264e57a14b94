"""C{egress revoke}: voids earlier decisions, and ends what runs because of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final, TextIO

from egress.cli.admin_client import add_options, admin_api
from egress.cli.errors import CommandFailed
from egress.cli.output import plain, write_json
from egress.cli.parser import epilog
from egress.cli.user_name import user_name
from egress.model.revocation import RevocationCounts, RevocationKind

_COUNTS: Final = ("cached", "grants", "tunnels", "requests", "confirmed", "unconfirmed")
_KINDS: tuple[tuple[RevocationKind, str, str, str, str], ...] = (
    (
        RevocationKind.CLIENT,
        "NAME",
        "the name or the address of a client, as in records",
        "revoke the decisions on the requests of a client",
        "egress revoke client agent-7",
    ),
    (
        RevocationKind.HOST,
        "PATTERN",
        "a host, its subdomains as in *.example.com, or an address",
        "revoke the decisions on requests to a host",
        "egress revoke host '*.example.com'",
    ),
    (
        RevocationKind.RULE,
        "ID",
        "the id of a rule, as in records",
        "revoke the decisions of a rule",
        "egress revoke rule allow-uploads",
    ),
    (
        RevocationKind.DECISION,
        "REQUEST_ID",
        "the id of a request, as in records",
        "revoke the decision on one request",
        "egress revoke decision 5f3c9b0e",
    ),
)


def add_parser(commands: Any) -> None:
    """Add C{revoke} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "revoke",
        help="void decisions, and end the requests and tunnels that they allow",
        description="Voids earlier decisions of a running proxy, which must have been started with --admin. It drops "
        "cached decisions, revokes grants, and ends the requests and tunnels that run because of these decisions. New "
        "requests are authorized again.",
        epilog=epilog(
            ("End everything that a client does", "egress revoke client agent-7 --admin unix:/run/egress/admin.sock"),
            ("End the connections to a host and its subdomains", "egress revoke host '*.example.com'"),
            ("End what a rule allowed", "egress revoke rule allow-uploads"),
            ("End one request", "egress revoke decision 5f3c9b0e"),
            ("Void all decisions", "egress revoke all"),
        ),
    )
    add_options(parser)
    actions = parser.add_subparsers(title="what to revoke", metavar="KIND", required=True)
    for kind, metavar, what, text, example in _KINDS:
        _add(actions, kind, text, example).add_argument("value", metavar=metavar, help=what)
    _add(actions, RevocationKind.ALL, "revoke all decisions", "egress revoke all").set_defaults(value=None)


def _add(actions: Any, kind: RevocationKind, text: str, example: str) -> argparse.ArgumentParser:
    summary = f"{text[0].upper()}{text[1:]}"
    parser: argparse.ArgumentParser = actions.add_parser(
        kind.value, help=text, description=f"{summary}.", epilog=epilog((summary, example))
    )
    parser.set_defaults(run=_run, kind=kind.value)
    # The options are accepted before and after the kind.
    add_options(parser, argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument("--by", metavar="NAME", help="your name, for the audit log [default: your user name]")
    return parser


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    document = {"kind": given.kind, "value": given.value, "by": user_name() if given.by is None else given.by}
    found = admin_api(given, environ).call("POST", "/revocations", document)
    counts = RevocationCounts.from_json({name: found[name] for name in _COUNTS if name in found})
    if given.json:
        write_json(out, found)
    else:
        what = "all decisions" if given.value is None else f"{given.kind} {given.value}"
        print(plain(f"{what}: {counts}"), file=out)
    if counts.unconfirmed:
        names = plain(", ".join(counts.unconfirmed))
        raise CommandFailed(f"not confirmed by {names}: repeat the revocation when it can be reached")
