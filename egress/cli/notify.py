"""C{egress notify}: tests the receivers of notifications."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, TextIO

import attrs

from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import epilog
from egress.cli.proxy_options import add_proxy_options, also_accepts, given_options
from egress.config.load import load_config
from egress.notify.trial import TrialResult, send_test
from egress.notify.webhook import WebhookRoute
from egress.parts import upstream_endpoints
from egress.resources import plain_trust
from egress.runtime.colors import Color, Painter
from egress.runtime.react import run
from egress.runtime.threads import Threads
from egress.tls.reloadable_trust import ReloadableTrust
from egress.upstream.resolver import resolver_for


def add_parser(commands: Any) -> None:
    """Add C{notify} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "notify",
        help="send a test notification",
        description="Tests the webhooks that receive notifications about denials, approvals and faults.",
        epilog=epilog(("Send a test notification to each webhook", "egress notify test --config egress.toml")),
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    text = "send a test notification to each webhook, and show the responses"
    test: argparse.ArgumentParser = actions.add_parser(
        "test",
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog(
            ("Use the configuration file of the proxy", "egress notify test --config egress.toml"),
            ("Use options", "egress notify test --notify-url-file webhooks.txt --notify-secret-file secret.txt"),
            statuses={0: "each webhook accepted the notification", 1: "a webhook did not accept it"},
            text=f"{also_accepts('--config, --notify-url-file, --notify-via-upstream')}.",
        ),
        allow_abbrev=False,
    )
    add_json(test)
    add_proxy_options(test)
    test.set_defaults(run=_test)


def _test(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    config = load_config(given_options(given), environ)
    if not config.notify.targets:
        raise CommandFailed("there is no webhook: set --notify-url, or --config to the configuration of the proxy")
    trust = ReloadableTrust(plain_trust(config))

    def start(reactor: Any) -> Any:
        resolver = resolver_for(reactor, config, Threads(reactor, "lookups", 2))
        endpoints = upstream_endpoints(reactor, config, trust, resolver)
        return send_test(reactor, config, WebhookRoute(trust=trust, resolver=resolver, behind_upstream=endpoints))

    results: list[TrialResult] = run(start)
    if given.json:
        write_json(out, {"results": [attrs.asdict(each) for each in results]})
    else:
        painter = Painter.of(out, environ)
        for each in results:
            level, color = ("ok", Color.GREEN) if each.accepted else ("error", Color.RED)
            print(f"{painter.paint(f'{level:<8}', color)} {each.target} ({each.format}): {plain(each.text)}", file=out)
    return int(not all(each.accepted for each in results))
