"""C{egress run}: runs a command behind a proxy of its own."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

from egress.cli.errors import CommandFailed
from egress.cli.output import plain, write_file
from egress.cli.parser import epilog
from egress.cli.proxy_options import add_proxy_options, also_accepts, given_options, reworded
from egress.cli.run_lock import RunLock
from egress.cli.running_proxy import DEFAULT_URL, ProxyUrl, ca_config, reject_options_of_the_proxy, write_files
from egress.config.load import load_config
from egress.config.model import ConfigError, Mode, ProxyConfig
from egress.launch.isolate.sandbox import CannotIsolate
from egress.launch.isolated_session import run_isolated
from egress.launch.policy_source import PolicySource
from egress.launch.report import WRITERS
from egress.launch.runner import CannotRun
from egress.launch.session import run_behind_proxy, run_client
from egress.launch.summary import Style, Summary
from egress.launch.work_directory import work_directory
from egress.model.policy_url import PolicyUrl
from egress.policy.learn.suggest import MAX_RULES
from egress.policy.learn.writer import write_policy
from egress.resources import read_rules
from egress.runtime.colors import Color, Painter
from egress.runtime.react import run

# The status for errors of this program and not of the command, as with env(1) and similar programs.
FAILED: Final = 125
_LISTEN: Final = "tcp:0:interface=127.0.0.1"
# The connections of processes that outlive the command end after this time.
_DRAIN: Final = "1s"


class RunFailed(CommandFailed):
    """The command was not run."""

    def __init__(self, text: str, exit_status: int = FAILED) -> None:
        super().__init__(text)
        self.exit_status = exit_status


def add_parser(commands: Any) -> None:
    """Add C{run} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="run a command behind a proxy of its own",
        description="Starts a proxy on a free port of this machine, runs the command behind it, and stops the proxy "
        "when the command ends. The environment of the command has the proxy and the CA for the programs that read "
        "them. A summary of the requests follows on standard error.",
        epilog=epilog(
            ("Run a command with the starter policy", "egress run -- curl https://example.com/"),
            ("Write a policy that allows what a command does", "egress run --learn policy.toml -- npm ci"),
            (
                "Enforce it, and write a report",
                "egress run --policy policy.toml --report summary.md -- npm ci",
            ),
            (
                "Record destinations, or list new ones",
                "egress run --lock egress.lock -- pip install requests",
            ),
            ("Use a running proxy", f"egress run --proxy {DEFAULT_URL} -- npm ci"),
            statuses={
                "N": "the status of the command; 128 + N if signal N ended it",
                FAILED: "egress failed",
                126: "the command cannot be executed",
                127: "there is no such command",
            },
            text=f"{also_accepts('--policy, --authz-url, --config')}. egressproxy --help-all lists them.",
        ),
        allow_abbrev=False,
    )
    records = parser.add_argument_group("records of the requests")
    records.add_argument(
        "--learn",
        metavar="POLICY",
        help="forward every request (--mode observe), and write a new policy that allows the requests of the command",
    )
    records.add_argument(
        "--lock",
        metavar="FILE",
        help="record the destinations of the command in a new lock file. If the file exists, list new destinations, "
        "and exit with status 1 if the command succeeded and there are any",
    )
    records.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        help="write the summary to a file that ends with .md or .json, for the page of a CI job; can be repeated",
    )
    records.add_argument("--quiet", action="store_true", help="print no summary")
    sandbox = parser.add_argument_group("sandbox (Linux)")
    sandbox.add_argument(
        "--isolate",
        action="store_true",
        help="leave the command no other way out: it runs in namespaces of its own (Linux), whose connections and name "
        "queries reach only the proxy, even if it ignores its environment",
    )
    sandbox.add_argument(
        "--isolate-fs",
        metavar="DIR",
        action="append",
        help="with --isolate: the command can change only this directory (can be repeated) and private temporary ones",
    )
    parser.add_argument(
        "--proxy",
        metavar="URL",
        help=f"use a running proxy, such as {DEFAULT_URL}, instead of starting one; --ca-dir selects its CA. For the "
        "proxy that the started proxy uses, see --upstream-proxy",
    )
    add_proxy_options(parser, without=("proxy",))
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND [ARGUMENT ...]", help="the command")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        raise RunFailed("specify a command, as in: egress run -- curl https://example.com/")
    try:
        if given.proxy is not None:
            return _run_with_running_proxy(given, command, environ)
        arguments = given_options(given)
        _check_files(given)
        lock = None if given.lock is None else RunLock(Path(given.lock))
        if given.learn is not None:
            arguments.setdefault("mode", [Mode.OBSERVE.value])
        _check_isolation(given, arguments)
        arguments.setdefault("listen", [_LISTEN])
        arguments.setdefault("drain-timeout", [_DRAIN])
        config = load_config(arguments, environ, default_store=True)
        if given.isolate and config.client_auth is not None:
            raise RunFailed("--isolate and --client-auth: only the command reaches the proxy; remove --client-auth")
        if config.workers != 1:
            raise ConfigError("--workers", str(config.workers), "a proxy for one command has one process: remove it")
        first = config.listen[0]
        if not first.endpoint.startswith(("tcp:", "tcp6:")) or first.tls is not None or first.proxy_protocol:
            raise ConfigError("--listen", config.listen[0].endpoint, "the first listener must be tcp: for the command")
        summary = _summary(config, lock)
        session = run_behind_proxy
        if given.isolate:
            session = partial(run_isolated, writable=None if given.isolate_fs is None else _directories(given))
        with work_directory() as directory:
            status: int = run(
                lambda reactor: session(reactor, config, command, environ, directory=directory, summary=summary)
            )
    except CannotRun as error:
        raise RunFailed(str(error), error.exit_status) from error
    except CannotIsolate as error:
        raise RunFailed(f"--isolate: {error}") from error
    except ConfigError as error:
        raise RunFailed(str(reworded(error, given, environ))) from error
    except CommandFailed as error:
        raise RunFailed(str(error)) from error
    if lock is not None:
        lines, summary.new_destinations = lock.finish()
        print(*map(plain, lines), sep="\n", file=sys.stderr)
        status = status or int(summary.new_destinations != [])
    for line in (*summary.warnings, *_written(given, summary)):
        print(f"egress: {line}", file=sys.stderr)
    if not given.quiet:
        _print_summary(command, summary.lines, environ)
    return status


def _summary(config: ProxyConfig, lock: RunLock | None) -> Summary:
    """Make the summary of the requests."""
    policy = None
    if isinstance(config.policy, PolicyUrl) or isinstance(config.shadow_policy, PolicyUrl):
        # The command could change the stored version, or end before the URL was checked.
        raise ConfigError("--policy", "", "egress run needs a file: download the policy, and specify its file")
    if config.authz_url is None:
        policy = PolicySource.of(
            config.policy, read_rules(config.policy, config.grpc_descriptors, config.policy_key), Path.cwd()
        )
    return Summary(policy=policy) if lock is None else Summary(lock.add, policy)


def _print_summary(command: Sequence[str], lines: Callable[[Style], Iterable[str]], environ: Mapping[str, str]) -> None:
    painter = Painter.of(sys.stderr, environ)

    def style(text: str, color: Color | None) -> str:
        return plain(text) if color is None else painter.paint(plain(text), color)

    print(f"\negress run {plain(shlex.join(command[:1]))}:", file=sys.stderr, end=" ")
    print(*lines(style), sep="\n", file=sys.stderr)


def _run_with_running_proxy(given: argparse.Namespace, command: Sequence[str], environ: Mapping[str, str]) -> int:
    arguments = given_options(given)
    reject_options_of_the_proxy(given, arguments)
    proxy = ProxyUrl(given.proxy)
    config = ca_config(arguments, environ)
    proxy.check_reachable()
    with work_directory() as directory:
        files = write_files(config, directory, proxy, environ)
        status: int = run(lambda reactor: run_client(reactor, proxy.text, command, environ, files=files))
    if not given.quiet:
        note = f"the audit log of the proxy {proxy} has the requests"
        _print_summary(command, lambda style: [style(note, None)], environ)
    return status


def _check_isolation(given: argparse.Namespace, arguments: Mapping[str, Sequence[str]]) -> None:
    """Check the options of the sandbox.

    @raise RunFailed: if they cannot be combined with others.
    """
    if given.isolate:
        if "listen" in arguments:
            raise RunFailed("--isolate and --listen: the proxy listens in the sandbox; remove --listen")
    elif given.isolate_fs is not None:
        raise RunFailed("--isolate-fs: has no effect without --isolate: add it")


def _directories(given: argparse.Namespace) -> list[Path]:
    """Return the directories that the command can change.

    @raise RunFailed: if one of them does not exist.
    """
    for text in given.isolate_fs:
        if not Path(text).is_dir():
            raise RunFailed(f"--isolate-fs {text!r}: is not a directory")
    return [Path(text).resolve() for text in given.isolate_fs]


def _check_files(given: argparse.Namespace) -> None:
    """Check the files to write, before the command runs.

    @raise RunFailed: if one of them cannot be written as requested.
    """
    for report in given.report:
        if Path(report).suffix not in WRITERS:
            raise RunFailed(f"--report {report!r}: write a file name that ends with {' or '.join(WRITERS)}")
    if given.learn is not None and Path(given.learn).exists():
        raise RunFailed(f"--learn {given.learn!r}: exists: specify a new file, or remove this one")


def _written(given: argparse.Namespace, summary: Summary) -> Iterator[str]:
    """Write the files of the options.  The status of the command stays the result if this fails.

    @return: what happened, in lines.
    """
    for report in map(Path, given.report):
        yield from _write(report, WRITERS[report.suffix](summary))
    if given.learn is not None:
        if summary.traffic.requests:
            yield from _write(Path(given.learn), write_policy(summary.traffic, MAX_RULES))
        else:
            yield f"{given.learn}: not written, because no request was forwarded"


def _write(path: Path, text: str) -> Iterator[str]:
    try:
        write_file(path, text)
    except CommandFailed as error:
        yield str(error)
    else:
        yield f"wrote {path}"
