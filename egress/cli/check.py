"""C{egress check}: checks the configuration of a proxy, without starting it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final, TextIO

from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import epilog
from egress.cli.proxy_options import add_proxy_options, also_accepts, given_options
from egress.config.load import load_config
from egress.config.model import ConfigError
from egress.config.options import OPTIONS
from egress.config.wording import Spellings
from egress.preflight import Finding, Level, check_configuration, exit_status
from egress.runtime.colors import Color, Painter
from egress.runtime.react import run

_COLORS: Final = {Level.OK: Color.GREEN, Level.WARNING: Color.YELLOW, Level.ERROR: Color.RED}


def add_parser(commands: Any) -> None:
    """Add C{check} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="check the configuration of a proxy, and whether its services can be reached",
        description="Checks what the start of a proxy checks, without its effects: values, files, the CA, the policy, "
        "listeners and secrets. Then connects to the authorization service and to the upstream proxy.",
        epilog=epilog(
            ("Check a configuration file", "egress check --config egress.toml"),
            ("Check options", "egress check --authz-url http://127.0.0.1:9000 --listen tcp:8080"),
            statuses={0: "the proxy can start, and its services can be reached", 1: "there is an error"},
            text=f"{also_accepts('--config, --policy, --authz-url')}. twistd -n egressproxy --check does the same.",
        ),
        allow_abbrev=False,
    )
    add_json(parser)
    add_proxy_options(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    findings: list[Finding]
    arguments = given_options(given)
    try:
        config = load_config(arguments, environ)
    except ConfigError as error:
        findings = [Finding.of(error)]
    else:
        found = run(lambda reactor: check_configuration(reactor, config))
        spell = Spellings(OPTIONS, arguments, environ).of
        findings = [finding.spelled(spell) for finding in found]
    if given.json:
        write_json(out, {"findings": [finding.as_json() for finding in findings]})
    else:
        painter = Painter.of(out, environ)
        for finding in findings:
            level, text = f"{finding.level.value:<8}", plain(str(finding))
            print(painter.paint(level, _COLORS[finding.level]) + text.removeprefix(level), file=out)
    return exit_status(findings)
