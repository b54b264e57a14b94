"""C{egress doctor}: finds what prevents programs from using the proxy, and prints the line that fixes it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

import attrs
from twisted.internet.defer import Deferred

from egress.checks.finding import Fix, Status
from egress.cli.errors import CommandFailed, Misused
from egress.cli.output import add_json, plain, write_json
from egress.cli.parser import epilog
from egress.cli.progress import progress
from egress.cli.proxy_options import add_proxy_options, also_accepts, given_options
from egress.cli.running_proxy import ProxyUrl
from egress.config.load import load_config
from egress.config.model import ConfigError, ProxyConfig
from egress.doctor.diagnosis import diagnosis
from egress.doctor.examination import Subject
from egress.doctor.names import NAMES, select
from egress.doctor.own_proxy import FREE_PORT, with_own_proxy
from egress.doctor.remedies import PROXY_VARIABLES
from egress.doctor.report import MARKS, Report
from egress.model.authority import Authority
from egress.model.errors import InvalidTarget
from egress.runtime.colors import Color, Painter
from egress.runtime.react import run
from egress.tls.issuer import CaError

# A public DNS resolver of Cloudflare, which accepts connections from everywhere.
_DIRECT: Final = "1.1.1.1:443"
# The variables of the clients' environment that name the proxy, in the order of precedence.
_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
_BYPASSES: Final = ("NO_PROXY", "no_proxy")

_COLORS: Final = {
    MARKS[Status.OK]: Color.GREEN,
    MARKS[Status.WARNING]: Color.YELLOW,
    MARKS[Status.FAULT]: Color.RED,
    MARKS[Status.ERROR]: Color.RED,
}

_STATUSES: Final[Mapping[int | str, str]] = {
    0: "nothing to fix",
    1: "there are warnings or faults",
    2: "a check was not possible, or the command line or the configuration is invalid",
}


def add_parser(commands: Any) -> None:
    """Add C{doctor} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="find what prevents programs from using the proxy, and how to fix it",
        description="Makes a request with each runtime on this machine, to an address to which the proxy itself "
        "responds. Also checks the CA, the clock, DNS, the authorizer, the upstream proxy, direct egress, limits and "
        "versions. Prints one line for each fault that fixes it. Without a proxy in --proxy or HTTPS_PROXY, starts one "
        "on a free port, with the environment that egress run sets.",
        epilog=epilog(
            ("Examine the proxy that the environment names, or one of its own", "egress doctor"),
            ("Examine a running proxy, and its authorization service", "egress doctor --config egress.toml"),
            ("Apply the fixes that a program can apply", "egress doctor --fix --yes"),
            ("Examine Java and Node.js only", "egress doctor --only java,node"),
            statuses=_STATUSES,
            text=f"{also_accepts('--authz-url, --ca-dir, --config')}, which describe the proxy. The checks: "
            f"{', '.join(NAMES)}; python means the four libraries of Python.",
        ),
        allow_abbrev=False,
    )
    parser.add_argument("--proxy", metavar="URL", help="the running proxy [default: HTTPS_PROXY of the environment]")
    parser.add_argument("--own", action="store_true", help="start a proxy, even if the environment names one")
    parser.add_argument("--only", action="append", default=[], metavar="NAMES", help="only these checks, as in java,ca")
    parser.add_argument("--skip", action="append", default=[], metavar="NAMES", help="all but these checks")
    parser.add_argument(
        "--direct",
        metavar="HOST:PORT",
        default=_DIRECT,
        help="the host that must not be reachable without the proxy; it gets a request for the proxy itself "
        "[default: %(default)s]",
    )
    add_json(parser)
    parser.add_argument("--fix", action="store_true", help="apply the fixes that a program can apply, and check again")
    parser.add_argument("--yes", action="store_true", help="with --fix: apply them without confirmation")
    add_proxy_options(parser, without=("proxy",))
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    names = _names(given)
    direct = _direct(given.direct)
    if given.own and given.proxy is not None:
        raise Misused("--own and --proxy: remove one of them")
    if given.yes and not given.fix:
        raise Misused("--yes has an effect only with --fix: remove it")

    def examine(reactor: Any, subject: Subject) -> Deferred[Report]:
        apply = _Confirmation(given.yes, bar.close) if given.fix else None
        return diagnosis(reactor, subject, names, apply, bar.advance)

    with progress("examining", len(names), environ=environ) as bar:
        report = _report(given, environ, direct, examine)
    if given.json:
        write_json(out, report.to_json())
    else:
        out.write(_text(report, Painter.of(out, environ)))
    return report.status


def _report(
    given: argparse.Namespace,
    environ: Mapping[str, str],
    direct: tuple[str, int],
    examine: Callable[[Any, Subject], Deferred[Report]],
) -> Report:
    try:
        proxy = None if given.own else _proxy(given.proxy, environ)
        arguments = given_options(given)
        if proxy is None:
            arguments.setdefault("listen", [FREE_PORT])
        config = load_config(arguments, _environ_of_proxy(environ, proxy))
        if proxy is None:
            return _with_own_proxy(config, environ, direct, examine)
        subject = Subject(proxy=proxy, own=False, environ=environ, config=config, direct=direct)
        report: Report = run(lambda reactor: examine(reactor, subject))
    except (CaError, ConfigError) as error:
        raise Misused(str(error)) from error
    return report


def _with_own_proxy(
    config: ProxyConfig,
    environ: Mapping[str, str],
    direct: tuple[str, int],
    examine: Callable[[Any, Subject], Deferred[Report]],
) -> Report:
    with tempfile.TemporaryDirectory(prefix="egress-doctor-") as directory:

        def start(reactor: Any) -> Deferred[Report]:
            def with_variables(url: str, variables: Mapping[str, str]) -> Deferred[Report]:
                subject = Subject(proxy=url, own=True, environ=variables, config=config, direct=direct)
                return examine(reactor, subject)

            return with_own_proxy(reactor, config, environ, Path(directory), with_variables)

        return run(start)


def _text(report: Report, painter: Painter) -> str:
    return "".join(f"{_colored(plain(line), painter)}\n" for line in report.lines())


def _colored(line: str, painter: Painter) -> str:
    """Color the mark at the start of a line, if there is one."""
    mark, space, rest = line.partition(" ")
    return painter.paint(mark, _COLORS[mark]) + space + rest if mark in _COLORS else line


# -- the command line


def _names(given: argparse.Namespace) -> frozenset[str]:
    try:
        names = select(_listed(given.only), _listed(given.skip))
    except KeyError as error:
        raise Misused(f"{error.args[0]!r}: there is no such check; the checks are: {', '.join(NAMES)}") from error
    if not names:
        raise Misused("--only and --skip: leave at least one check")
    return names


def _listed(texts: Sequence[str]) -> list[str]:
    return [name for text in texts for name in (part.strip() for part in text.split(",")) if name]


def _direct(text: str) -> tuple[str, int]:
    try:
        authority = Authority.parse(text)
    except InvalidTarget as error:
        raise Misused(f"--direct {text!r}: write a host and a port, as in {_DIRECT}") from error
    return authority.host, authority.port


def _proxy(given: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the running proxy, if one is given."""
    text = given or next((environ[name] for name in _PROXIES if environ.get(name)), None)
    if text is None:
        return None
    try:
        return ProxyUrl(text if "://" in text else f"http://{text}").text
    except CommandFailed as error:
        raise Misused(str(error)) from error


def _environ_of_proxy(environ: Mapping[str, str], proxy: str | None) -> Mapping[str, str]:
    """Return the environment that describes the proxy.

    The variables of clients of a running proxy do not name its upstream proxy.
    """
    if proxy is None:
        return environ
    return {name: value for name, value in environ.items() if name not in (*PROXY_VARIABLES, *_BYPASSES)}


# -- fixes


@attrs.frozen
class _Confirmation:
    """Requests confirmation for each fix on the terminal.

    @ivar confirmed: whether the user has confirmed all fixes.
    @ivar close_bar: removes the progress bar.
    """

    confirmed: bool
    close_bar: Callable[[], None]

    def confirm(self, fix: Fix, names: Sequence[str]) -> bool:
        """See L{egress.doctor.diagnosis.Applier.confirm}."""
        self.close_bar()
        print(f"{', '.join(names)}: {plain(fix.line)}", file=sys.stderr)
        if self.confirmed:
            return True
        if not sys.stdin.isatty():
            print("  not applied: standard input is not a terminal; add --yes", file=sys.stderr)
            return False
        print("  apply? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def failed(self, reason: str) -> None:
        """See L{egress.doctor.diagnosis.Applier.failed}."""
        print(f"  failed: {plain(reason)}", file=sys.stderr)
