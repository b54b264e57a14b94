"""The command C{egress}: everything except running a proxy.

An error is one line on standard error, with exit status 1 unless a command documents another; an invalid command line
has exit status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, TextIO

from egress import __version__
from egress.cli.errors import CommandFailed
from egress.cli.parser import Commands, CompleteParser, Parser, epilog, listing
from egress.config.model import ConfigError
from egress.runtime.build import build_name

Addition = Callable[[Any], None]

# The commands by group, each a module of this package.  Its function add_parser adds the parser, with examples
# (L{egress.cli.parser.epilog}).  It also sets "run": a function of the arguments, the environment, and the output.
# A command line loads only the module of its command, because all of them together take twice as long.
COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "run programs behind a proxy": ("env", "run"),
    "write and check policies": ("explain", "lock", "policy"),
    "set up": ("check", "completion", "init"),
    "operate a proxy": ("approvals", "ca", "client", "console", "doctor", "logs", "notify", "revoke", "trust"),
}

_DESCRIPTION: Final = (
    "Runs commands behind an egress proxy, and manages its CA, policies and approvals. "
    "To start a proxy for several programs: twistd -n egressproxy."
)
_EPILOG: Final = epilog(
    ("Run a command behind a proxy of its own, and list its requests", "egress run -- curl https://example.com/"),
    ("Write a policy that allows what a command does", "egress run --learn policy.toml -- npm ci"),
    ("Find out why a request is denied", "egress explain --policy policy.toml GET https://example.com/"),
    text="egress COMMAND --help shows the options and the examples of a command.",
)

# The beginning of the command line of twistd, which a user may give to this command instead.
_TWISTD: Final = ("-n", "--nodaemon", "egressproxy", "egressauthz")

# The exit status that a shell gives a program that Ctrl-C ended.
_INTERRUPTED: Final = 130


def load(only: str | None = None) -> dict[str, list[Addition]]:
    """Load the modules of the commands.

    @param only: the name of a command; all commands, if it is unknown.
    @return: for each group, the functions that add the parsers.
    """
    if not any(only in names for names in COMMANDS.values()):
        only = None
    return {
        title: [import_module(f"egress.cli.{name}").add_parser for name in names if only in (None, name)]
        for title, names in COMMANDS.items()
    }


def parser(
    groups: Mapping[str, Iterable[Addition]] | None = None, kind: type[Parser] = Parser
) -> argparse.ArgumentParser:
    """Make the parser of the command line.

    @param groups: for each group of commands, the functions that add their parsers; C{None}: all commands.
    @param kind: the class of the parsers.
    """
    if groups is None:
        groups = load()
    top = kind(prog="egress", usage="%(prog)s [-h] [--version] COMMAND ...", epilog=_EPILOG)
    top.add_argument("--version", action="version", version=f"egressproxy {__version__} ({build_name()} build)")
    top.set_defaults(complete_parser=lambda: parser(kind=CompleteParser))
    summary = "the command" if kind.shows_all else argparse.SUPPRESS
    # The description lists the commands by group, which argparse cannot do.
    action = top.add_subparsers(prog="egress", metavar="COMMAND", required=True, help=summary)
    commands = {title: Commands(action) for title in groups}
    for title, additions in groups.items():
        for add in additions:
            add(commands[title])
    top.description = f"{_DESCRIPTION}\n\n{listing(commands)}"
    return top


def _hinted(arguments: Sequence[str]) -> Sequence[str]:
    """Detect the command line of a proxy.

    @raise SystemExit: with the program that has these options.
    """
    if arguments and arguments[0] in _TWISTD:
        print("egress: to start a proxy: egressproxy, or twistd -n egressproxy", file=sys.stderr)
        raise SystemExit(2)
    return arguments


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
    *,
    groups: Mapping[str, Iterable[Addition]] | None = None,
) -> int:
    """Run one command.

    @param arguments: the command line; C{None}: that of this process.
    @param environ: the environment; C{None}: that of this process.
    @param out: standard output; C{None}: that of this process.
    @param err: standard error; C{None}: that of this process.
    @param groups: see L{parser}; C{None}: the command of the command line, or all commands.
    @return: the status to exit with.
    @raise SystemExit: when the command line cannot be read, or asks for help.
    """
    words = _hinted(sys.argv[1:] if arguments is None else arguments)
    given = parser(load(next(iter(words), None)) if groups is None else groups).parse_args(words)
    out = out or sys.stdout
    try:
        status: int | None = given.run(given, os.environ if environ is None else environ, out)
        # Detect a closed output stream here, not when the process ends.
        out.flush()
    except (CommandFailed, ConfigError) as error:
        print(f"egress: {' '.join(str(error).split())}", file=err or sys.stderr)
        return error.exit_status if isinstance(error, CommandFailed) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader closed the pipe early; leave nothing to be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return status or 0
