"""C{egress approvals}: lists pending approvals and grants, and resolves them."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import quote

from egress.cli.admin_client import AdminApi, add_options, admin_api
from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import epilog
from egress.cli.user_name import user_name
from egress.config.parsers import BadValue, ParseContext, duration

_EVERY: Final = 1.0
_MINUTE: Final = 60
_HOUR: Final = 3600


def add_parser(commands: Any) -> None:
    """Add C{approvals} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "approvals",
        help="list, allow and deny pending approvals",
        description="Lists the pending approvals and the grants of a running proxy, which must have been started with "
        "--admin.",
        epilog=epilog(
            ("List the pending approvals and the grants", "egress approvals --admin unix:/run/egress/admin.sock"),
            ("Print each new pending approval", "egress approvals --watch"),
            ("Show its header fields and its content", "egress approvals show 3f2a"),
            (
                "Allow requests, and the same requests for an hour",
                "egress approvals allow 3f2a --for 1h",
            ),
            ("Deny them with a reason for the client", "egress approvals deny 3f2a --reason 'not this host'"),
        ),
    )
    add_options(parser)
    parser.add_argument("--watch", action="store_true", help="continue to list each new pending approval, until Ctrl-C")
    add_json(parser)
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")

    _add(
        actions,
        "show",
        _show,
        "show a pending approval or a grant",
        ("Show the header fields and the content", "egress approvals show 3f2a"),
    )
    allow = _add(
        actions,
        "allow",
        _allow,
        "allow the requests of a pending approval",
        ("Allow the requests that wait now", "egress approvals allow 3f2a"),
        ("Also allow the same requests for an hour", "egress approvals allow 3f2a --for 1h --reason 'release'"),
    )
    allow.add_argument(
        "--for", dest="seconds", type=_duration, metavar="TIME", help="also create a grant for this time, as in 1h"
    )
    deny = _add(
        actions,
        "deny",
        _deny,
        "deny the requests of a pending approval",
        ("Deny the requests with a reason for the client", "egress approvals deny 3f2a --reason 'not this host'"),
    )
    for each in (allow, deny):
        each.add_argument("--reason", metavar="TEXT", help="the reason, for the client and the audit log")
        each.add_argument(
            "--by", metavar="NAME", help="the name of the approver, for the audit log [default: your user name]"
        )
    _add(actions, "revoke", _revoke, "revoke a grant", ("End a grant", "egress approvals revoke 7b1c"))


def _add(actions: Any, name: str, run: Any, text: str, *examples: tuple[str, str]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=epilog(*examples)
    )
    parser.set_defaults(run=run)
    # The options are accepted before and after the action.
    add_options(parser, argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="write JSON")
    parser.add_argument("id", metavar="ID", help="an id that egress approvals lists")
    return parser


def _duration(text: str) -> float:
    try:
        return duration(text, ParseContext(Path()))
    except BadValue as error:
        raise argparse.ArgumentTypeError(error.remedy) from error


# -- listing


def _list(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    api = admin_api(given, environ)
    if given.watch:
        _watch(api, given.json, out)
        return
    found = api.call("GET", "/approvals")
    if given.json:
        write_json(out, found)
    else:
        out.write(in_lines(found, time.time()))


def _watch(api: AdminApi, as_json: bool, out: TextIO) -> None:
    """Print each pending approval once, until the command is interrupted."""
    seen: set[str] = set()
    try:
        while True:
            pending = api.call("GET", "/approvals")["pending"]
            for one in pending:
                if one["id"] not in seen:
                    text = json.dumps(one) if as_json else "\n".join([*_pending(one, time.time()), ""])
                    out.write(text + "\n")
            # A pending approval that ends and comes again is printed again.
            seen = {one["id"] for one in pending}
            out.flush()
            time.sleep(_EVERY)
    except KeyboardInterrupt:
        return


def in_lines(found: Mapping[str, Any], now: float) -> str:
    """Format the pending approvals and the grants as text."""
    lines: list[str] = []
    for one in found["pending"]:
        lines += [*_pending(one, now), ""]
    if not found["pending"]:
        lines += ["No pending approvals.", ""]
    if found["grants"]:
        lines.append("Grants:")
        lines += [plain(_grant(one, now)) for one in found["grants"]]
    return "\n".join(lines).rstrip("\n") + "\n"


def _show(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    _path(given.id)
    found = admin_api(given, environ).call("GET", "/approvals")
    one = next((one for kind in ("pending", "grants") for one in found[kind] if one["id"] == given.id), None)
    if one is None:
        raise CommandFailed(
            f"{given.id}: no pending approval or grant with this id (already allowed, denied, revoked, or expired)"
        )
    if given.json:
        write_json(out, one)
    else:
        out.write("\n".join([*_details(one, time.time()), ""]))


def _details(one: Mapping[str, Any], now: float) -> list[str]:
    """Format a pending approval with its request, or a grant."""
    if "count" not in one:
        reason = [f"  reason  {one['reason']}"] if one["reason"] else []
        return [plain(line) for line in (_grant(one, now), f"  rule    {one['ruleId'] or '-'}", *reason)]
    lines = [*_pending(one, now), plain(f"  decided {one['decidedBy']}")]
    preview = one.get("preview")
    if preview is None:
        return [*lines, "  The list is too long for header fields and content."]
    lines.append("  header fields")
    lines += [plain(f"    {name}: {value}") for name, value in preview["headers"]]
    if preview["moreHeaders"]:
        lines.append(f"    and {preview['moreHeaders']} more")
    content = preview["content"]
    if content is None:
        length = one["contentLength"]
        return lines if length == 0 else [*lines, "  content, which the proxy did not read"]
    kind = f" ({content['type']})" if content["type"] else ""
    if content["text"] is None:
        return [*lines, plain(f"  content{kind}, which is not text")]
    beginning = ", the beginning" if content["truncated"] else ""
    lines.append(plain(f"  content{kind}{beginning}"))
    return lines + [plain(f"    {line}") for line in content["text"].splitlines()]


def _pending(one: Mapping[str, Any], now: float) -> Sequence[str]:
    many = f" ({one['count']} requests)" if one["count"] > 1 else ""
    rule = f"rule {one['ruleId']}: " if one["ruleId"] else ""
    length = one["contentLength"]
    content = "" if length == 0 else f", with {'content' if length is None else f'{length} bytes of content'}"
    lines = [
        f"{one['id']}  {one['method']} {one['url']}{many}",
        f"  from    {_client(one['client'], one['identity'])}{content}",
        f"  reason  {rule}{one['reason']}",
        f"  pending {_span(now - one['since'])}, expires in {_span(one['until'] - now)}{_nodes(one)}",
    ]
    return [plain(line) for line in lines]


def _nodes(one: Mapping[str, Any]) -> str:
    """Name the replicas on which the requests wait, if replicas share approvals."""
    nodes = one.get("nodes")
    return f", on {', '.join(nodes)}" if nodes else ""


def _grant(one: Mapping[str, Any], now: float) -> str:
    end = datetime.fromtimestamp(one["until"], timezone.utc)
    who = f" by {one['by']}" if one["by"] else ""
    client = _client(one["client"], one["identity"])
    return (
        f"{one['id']}  {one['method']} {one['url']}  from {client}  "
        f"until {end:%Y-%m-%d %H:%M} UTC ({_span(one['until'] - now)}){who}"
    )


def _client(address: str, identity: str | None) -> str:
    return address if identity is None else f"{identity} at {address}"


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    return f"{whole // _MINUTE} min" if whole < 2 * _HOUR else f"{whole // _HOUR} h"


# -- resolving


def _allow(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    found = _answer(given, environ, {"answer": "allow", "for": given.seconds})
    if given.json:
        write_json(out, found)
        return
    grant = found["grant"]
    if grant is None:
        print(f"{given.id}: {_requests(found)} allowed once{_unconfirmed(found)}", file=out)
        return
    end, missing = datetime.fromtimestamp(grant["until"], timezone.utc), _unconfirmed(found)
    print(f"{given.id}: {_requests(found)} allowed, with a grant until {end:%Y-%m-%d %H:%M:%S} UTC{missing}", file=out)
    print(f"To revoke the grant: egress approvals revoke {grant['id']}", file=out)


def _deny(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    found = _answer(given, environ, {"answer": "deny"})
    if given.json:
        write_json(out, found)
    else:
        print(f"{given.id}: {_requests(found)} denied{_unconfirmed(found)}", file=out)


def _unconfirmed(found: Mapping[str, Any]) -> str:
    nodes = found.get("unconfirmed")
    return plain(f"; not confirmed by {', '.join(nodes)}") if nodes else ""


def _requests(found: Mapping[str, Any]) -> str:
    number = found["resolved"]
    return "one request" if number == 1 else f"{number} requests"


def _answer(given: argparse.Namespace, environ: Mapping[str, str], answer: Mapping[str, Any]) -> dict[str, Any]:
    by = user_name() if given.by is None else given.by
    document = {**answer, "reason": given.reason, "by": by}
    return admin_api(given, environ).call("POST", _path(given.id), document)


def _revoke(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    admin_api(given, environ).call("DELETE", _path(given.id))
    if given.json:
        write_json(out, {"revoked": given.id})
    else:
        print(f"{given.id}: grant revoked", file=out)


def _path(name: str) -> str:
    if not name.isalnum():
        raise CommandFailed(f"{name!r} is not a valid id: egress approvals lists the ids")
    return f"/approvals/{quote(name)}"
