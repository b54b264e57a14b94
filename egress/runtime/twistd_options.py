"""The command line of a C{twistd} plugin, generated from its table of options."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import ClassVar, Final, NoReturn

import twisted
from twisted.python import usage

from egress import __version__
from egress.config.option import Option, by_name
from egress.model.redact import redact_userinfo

_WIDTH: Final = 80
# The default of twistd, relative to the working directory.
_PIDFILE: Final = "twistd.pid"


def exit_with(program: str, message: str) -> NoReturn:
    """Print one line to standard error and exit with status 1.

    @raise SystemExit: always.
    """
    raise SystemExit(f"{program}: " + " ".join(message.split()))


def _option_help(option: Option) -> str:
    metavar = f" {option.metavar}" if option.metavar else ""
    lines = [f"  {', '.join(f'--{name}{metavar}' for name in (option.name, *option.aliases))}"]
    repeat = " Can be repeated." if option.repeatable else ""
    names = ", ".join(variable.name for variable in option.environment)
    for text in (f"{option.help}{repeat}", f"[default: {option.default}; environment: {names}]"):
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent="      ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


class CommandLine(usage.Options):
    """The command line of one program, which a subclass defines.

    @cvar program: the name of the program.
    @cvar table: its options.
    @cvar longdesc: its description, for C{--help}.
    @ivar arguments: the given options, for L{egress.config.sources.gather}.
    """

    program: ClassVar[str]
    table: ClassVar[tuple[Option, ...]]
    longdesc: ClassVar[str]
    synopsis = "[options]"

    def __init_subclass__(cls) -> None:
        """Add a method for each option name, as C{usage.Options} requires."""
        super().__init_subclass__()
        for name, option in by_name(cls.table).items():
            setattr(cls, "opt_" + name.replace("-", "_"), _takes(option, name))

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, list[str]] = {}

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"{self.program} {__version__} (Twisted {twisted.__version__})")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line (C{usage.Options.parseOptions}).

        @raise SystemExit: with one line.  For a C{UsageError}, C{twistd} would print the whole help first.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            message = str(error)
            exit_with(self.program, f"{message}; {self._remedy(message)}")

    def _remedy(self, message: str) -> str:
        """Return the fix for an error of getopt."""
        names = by_name(self.table)
        prefix = re.fullmatch(r"option --(\S+) not a unique prefix", message)
        if prefix:
            found = sorted(name for name in names if name.startswith(prefix[1]))
            return f"write one of {', '.join(f'--{name}' for name in found)}"
        unknown = re.fullmatch(r"option --(\S+) not recognized", message)
        close = get_close_matches(unknown[1], names, n=1) if unknown else []
        return f"did you mean --{close[0]}?" if close else "--help lists the options"

    # usage.Options has only the long form.
    opt_h = usage.Options.opt_help

    def postOptions(self) -> None:
        """Write no pid file in the foreground, unless the user names one (C{usage.Options.postOptions}).

        The working directory of a service or of a container may not be writable.  A container that is restarted, and a
        second program in the same directory, would find the file of another process.
        """
        parent = getattr(self, "parent", None)
        if parent is not None and parent.get("nodaemon") and parent.get("pidfile") == _PIDFILE:
            parent["pidfile"] = ""

    def parseArgs(self, *extra: str) -> None:
        """Reject positional arguments (C{usage.Options.parseArgs})."""
        if extra:
            raise usage.UsageError(f"{redact_userinfo(extra[0])!r} is not an option")

    def getUsage(self, width: int | None = None) -> str:
        """Format the help (C{usage.Options.getUsage})."""
        parts = ["\n" + textwrap.fill(self.longdesc, _WIDTH)]
        for group in dict.fromkeys(option.group for option in self.table):
            parts.append(f"{group}:")
            parts += [_option_help(option) for option in self.table if option.group == group]
        parts.append("Other:\n  --help\n      Show this and exit.\n  --version\n      Show the version and exit.")
        return "\n\n".join(parts) + "\n"


def _takes(option: Option, name: str) -> Callable[..., None]:
    def given(self: CommandLine, text: str) -> None:
        texts = self.arguments.pop(name, [])
        # The order matters: the last of two names of one option takes effect.
        self.arguments[name] = [*texts, text]

    def flagged(self: CommandLine) -> None:
        given(self, "true")

    method = flagged if option.flag else given
    method.__doc__ = option.help
    return method
