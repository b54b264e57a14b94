"""The command C{egress}: everything except running a proxy.

An error is one line on standard error, with exit status 1 unless a command documents another; an invalid command line
has exit status 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TextIO

from egress import __version__
from egress.cli import approvals, ca, client, env, explain, lock, policy, run
from egress.cli.errors import CommandFailed
from egress.config.model import ConfigError

# Each adds its own parser, which sets "run": a function of the arguments, the environment and the output stream.
COMMANDS: Final[tuple[Callable[[Any], None], ...]] = (
    approvals.add_parser,
    ca.add_parser,
    client.add_parser,
    env.add_parser,
    explain.add_parser,
    lock.add_parser,
    policy.add_parser,
    run.add_parser,
)


# The exit status that a shell gives a program that Ctrl-C ended.
_INTERRUPTED: Final = 130


def parser(additions: Iterable[Callable[[Any], None]] = COMMANDS) -> argparse.ArgumentParser:
    """Make the parser of the command line.

    @param additions: each adds the parser of one command.
    """
    top = argparse.ArgumentParser(
        prog="egress",
        description="Runs commands behind an egress proxy, and manages its CA, policies and approvals. "
        "To start a proxy for several programs: twistd egressproxy.",
    )
    top.add_argument("--version", action="version", version=f"egressproxy {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in additions:
        add(commands)
    return top


def main(
    arguments: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    out: TextIO | None = None,
    err: TextIO | None = None,
    *,
    additions: Iterable[Callable[[Any], None]] = COMMANDS,
) -> int:
    """Run one command.

    @param arguments: the command line; C{None}: that of this process.
    @param environ: the environment; C{None}: that of this process.
    @param out: standard output; C{None}: that of this process.
    @param err: standard error; C{None}: that of this process.
    @param additions: see L{parser}.
    @return: the status to exit with.
    @raise SystemExit: when the command line cannot be read, or asks for help.
    """
    given = parser(additions).parse_args(arguments)
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
