"""C{egress explain}: explains what the proxy would do with a request, and why, without sending it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong

from egress.cli.admin_client import add_options, admin_api
from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import epilog
from egress.cli.proxy_options import add_proxy_options, also_accepts, given_options, reworded
from egress.cli.upstream_variables import notes, without_client_proxies
from egress.config.load import load_config
from egress.config.model import ConfigError, ProxyConfig
from egress.model.explanation import MAX_BODY, ExplainRequest, Explanation, InvalidExplainRequest
from egress.model.message import Direction, MessageKind
from egress.runtime.colors import Color, Painter
from egress.runtime.react import run
from egress.runtime.role import DRY_RUN
from egress.service import EgressProxyService

# Exit statuses.  1 is a denial, so an error is 2, as for an invalid command line.
STATUSES: Final = {"allow": 0, "deny": 1}
NO_DECISION: Final = 3

# Outcomes without a decision; every other error occurs in an exchange that was allowed.
_UNDECIDED: Final = (None, "authorizer-unavailable", "audit-unavailable")

_PLAIN: Final = Painter(False)
_COLORS: Final = {"allow": Color.GREEN, "deny": Color.RED}

_SECONDS: Final = 120.0
_RULES_SHOWN: Final = 20


class ExplainFailed(CommandFailed):
    """The request could not be explained."""

    exit_status = 2


def add_parser(commands: Any) -> None:
    """Add C{explain} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="explain what the proxy would do with a request",
        description="Shows each step that a request would take, without sending the request.",
        epilog=epilog(
            ("Test a policy", "egress explain --policy policy.toml GET https://example.com/"),
            (
                "Test a POST with content",
                "egress explain POST https://example.com/ -H 'Accept: */*' --body hello",
            ),
            (
                "Let a running proxy explain",
                "egress explain --admin unix:/run/egress.sock CONNECT example.com:22",
            ),
            statuses={
                0: "the request would be allowed",
                1: "it would be denied or rejected",
                2: "the command failed",
                3: "no decision, an approval is required, or the request would fail",
            },
            text=f"{also_accepts('--policy, --authz-url, --config')}, which describe the proxy. egressproxy --help-all "
            "lists them. With --admin, a running proxy explains the request.",
        ),
        allow_abbrev=False,
    )
    parser.add_argument("method", metavar="METHOD", help="the method, as in GET")
    parser.add_argument(
        "url", metavar="URL", help="the URL, as in https://example.com/; for CONNECT, a host and a port"
    )
    request = parser.add_argument_group("request")
    request.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'N: V'",
        help="a header field of the request; can be repeated",
    )
    request.add_argument("--body", metavar="TEXT|@FILE", help="the content of the request; @- is standard input")
    request.add_argument("--client", metavar="NAME", help="the name of the client")
    message = parser.add_argument_group("message of the exchange, if its messages are authorized")
    message.add_argument("--message", metavar="TEXT", help="the content of the message")
    message.add_argument("--message-kind", choices=[kind.value for kind in MessageKind], help="default: websocket")
    message.add_argument(
        "--message-direction",
        choices=[direction.value for direction in Direction],
        help="the sender; default: client, or origin for an event stream",
    )
    message.add_argument(
        "--message-type", metavar="TYPE", help="text or binary, or the name of an event; default: text, or message"
    )
    parser.add_argument(
        "--connect", action="store_true", help="connect to the origin, with TLS, if the request is allowed"
    )
    parser.add_argument(
        "--no-ask", action="store_true", help="send no authorization request to the authorization service"
    )
    add_json(parser)
    add_options(parser, hint="; without this option, the other options describe the proxy")
    add_proxy_options(parser, without=("admin",))
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    try:
        question = _question(given)
        arguments = given_options(given)
        if given.admin is not None:
            if arguments:
                raise ExplainFailed(f"--{min(arguments)}: cannot be combined with --admin: remove it")
            document = admin_api(given, environ).call("POST", "/explain", question.to_json())
        else:
            described, removed = without_client_proxies(arguments, environ)
            config = load_config(arguments, described)
            for note in notes(arguments, described, config, removed):
                print(f"egress: {note}", file=sys.stderr)
            document = run(lambda reactor: explained(reactor, config, question)).to_json()
    except TookTooLong as error:
        raise ExplainFailed(f"the explanation was not complete within {_SECONDS:g} s") from error
    except ConfigError as error:
        raise ExplainFailed(str(reworded(error, given, environ))) from error
    except CommandFailed as error:
        raise ExplainFailed(str(error)) from error
    if given.json:
        write_json(out, document)
    else:
        out.write(in_lines(document, Painter.of(out, environ)))
    return STATUSES.get(document["verdict"], NO_DECISION)


def explained(reactor: Any, config: ProxyConfig, question: ExplainRequest) -> Deferred[Explanation]:
    """Make a proxy that never listens, and have it explain the request."""
    proxy = EgressProxyService(reactor, config, role=DRY_RUN)

    def close(result: Any) -> Deferred[Any]:
        return proxy.stopService().addCallback(lambda _: result)

    return proxy.explain(question).addTimeout(_SECONDS, reactor).addBoth(close)


def _question(given: argparse.Namespace) -> ExplainRequest:
    headers = []
    for text in given.header:
        name, colon, value = text.partition(":")
        if not colon:
            raise ExplainFailed(f"--header {text!r}: write a name and a value, as in 'Accept: text/html'")
        headers.append([name, value.strip()])
    document = {
        "method": given.method,
        "url": given.url,
        "headers": headers,
        "client": given.client,
        "connect": given.connect,
        "ask": not given.no_ask,
        "message": given.message,
        "messageKind": given.message_kind,
        "messageDirection": given.message_direction,
        "messageType": given.message_type,
    }
    try:
        question = ExplainRequest.parse(document)
    except InvalidExplainRequest as error:
        raise ExplainFailed(str(error)) from error
    body = None if given.body is None else _body(given.body)
    # The content of a file need not be text.
    return attrs.evolve(question, body=body)


def _body(text: str) -> bytes:
    if text.startswith("@"):
        try:
            if text == "@-":
                body = sys.stdin.buffer.read(MAX_BODY + 1)
            else:
                with Path(text[1:]).open("rb") as file:
                    body = file.read(MAX_BODY + 1)
        except OSError as error:
            raise ExplainFailed(f"--body {text!r}: {error.strerror}; specify a readable file") from error
    else:
        body = text.encode("utf-8", "surrogateescape")
    if len(body) > MAX_BODY:
        raise ExplainFailed(f"--body: has more than {MAX_BODY} bytes; shorten it")
    return body


# -- formatting


def in_lines(document: Mapping[str, Any], painter: Painter = _PLAIN) -> str:
    """Format an explanation as text."""
    lines = [f"{document['method']} {document['url']}", ""]
    for step in document["steps"]:
        lines += _step(step)
    who = document["decidedBy"]
    if document["ruleId"] is not None:
        who = f"{who}, rule {document['ruleId']}"
    answer = f"; the client gets {document['status']} ({document['code']})" if document["status"] is not None else ""
    verdict = {"none": "no decision", "ask": "requires approval"}.get(document["verdict"], document["verdict"])
    if verdict == "no decision" and document["code"] not in _UNDECIDED:
        verdict = "would fail"
    decision = plain(f"{verdict}: {document['reason']}")
    after = [f"  by {who}{answer}"]
    if document["code"] == "invalid-target" and "://" not in document["url"]:
        after.append("  Write an absolute URL, as in https://example.com/.")
    colored = painter.paint(decision, _COLORS.get(document["verdict"], Color.YELLOW))
    return "\n".join([*map(plain, [*lines, ""]), colored, *map(plain, after)]) + "\n"


def _step(step: Mapping[str, Any]) -> Sequence[str]:
    indent = " " * 31
    milliseconds = f"{step['seconds'] * 1000:.1f} ms"
    first = f"  {step['name']:<11}{step['outcome']:<8}{milliseconds:>8}  {step['text']}"
    return [first, *(f"{indent}{detail}" for detail in step["details"]), *_rules(step.get("rules", ()), indent)]


def _rules(rules: Sequence[Mapping[str, Any]], indent: str) -> Iterator[str]:
    shown = rules[-_RULES_SHOWN:]
    if len(shown) < len(rules):
        yield f"{indent}{len(rules) - len(shown)} earlier rules did not match"
    width = max((len(rule["ruleId"]) for rule in shown), default=0)
    where = max((len(rule["where"]) for rule in shown), default=0)
    for rule in shown:
        found = rule["verdict"] if rule["matched"] else f"no: {rule['failed']}"
        # A running proxy may be older than this command.
        if rule.get("doubt") is not None:
            found += f" ({rule['doubt']})"
        mark = ">" if rule["matched"] else " "
        yield f"{indent}{mark} {rule['ruleId']:<{width}}  {rule['where']:<{where}}  {found}"
