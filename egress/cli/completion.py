"""C{egress completion}: prints the completion script of a shell."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any, Final, TextIO

import shtab

from egress.cli.parser import epilog, parsers_of

SHELLS: Final = ("bash", "zsh", "fish")

_FILES: Final = frozenset({"FILE", "POLICY", "NEW", "AUDIT.jsonl"})
_CHOICES: Final = re.compile(r"[a-z-]+(?:\|[a-z-]+)+")
_COMMANDS: Final = {"bash": "_egress_compgen_commands", "zsh": "_normal", "fish": "(__fish_complete_command)"}
# Bash has no completion of the command of another command that works everywhere: a name or a file is completed.
_PREAMBLE: Final = """
_egress_compgen_commands() {
  compgen -c -- "$1"
  compgen -f -- "$1"
}
"""


def add_parser(commands: Any) -> None:
    """Add C{completion} to the commands."""
    parser = commands.add_parser(
        "completion",
        help="print the completion script of a shell",
        description="Prints a script that completes the commands, options and files of egress.",
        epilog=epilog(
            ("In ~/.bashrc", 'eval "$(egress completion bash)"'),
            ("In a directory of $fpath, for zsh", "egress completion zsh > ~/.zsh/functions/_egress"),
            ("For fish", "egress completion fish > ~/.config/fish/completions/egress.fish"),
        ),
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    out.write(script(given.complete_parser(), given.shell))


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Write the script of a shell.

    @param parser: the parser of the program, in which every option has a help text.
    @param shell: the name of the shell.
    """
    for each in parsers_of(parser):
        for action in each._actions:  # noqa: SLF001 - argparse has no other name for them
            _describe(action)
    text: str = shtab.complete(parser, shell, preamble=_PREAMBLE if shell == "bash" else "")
    return text


def _describe(action: Any) -> None:
    """Set what completes the value of an option."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    names = set(metavar.split("|"))
    if action.nargs == argparse.REMAINDER:
        action.complete = _COMMANDS
    elif action.choices is None and names & _FILES:
        action.complete = shtab.FILE
    elif metavar == "DIR":
        action.complete = shtab.DIRECTORY
    elif action.choices is None and _CHOICES.fullmatch(metavar):
        action.choices = sorted(names)
