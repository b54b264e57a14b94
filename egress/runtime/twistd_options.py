"""The command line of a C{twistd} plugin, generated from its table of options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Final, NoReturn

import twisted
from twisted.python import usage

from egress import __version__
from egress.config.option import Option, by_name, similar
from egress.model.redact import redact_userinfo
from egress.runtime.build import build_name
from egress.runtime.option_help import full_help, group_names, paragraph, short_help

# The options that are no settings, as getopt knows them.
_HELP: Final = ("check", "help", "help-all", "help-for", "version")
_CHECK: Final = ("--check", "check the configuration and the services that it names, and exit")
# The default of twistd, relative to the working directory.
_PIDFILE: Final = "twistd.pid"


def exit_with(program: str, message: str) -> NoReturn:
    """Print one line to standard error and exit with status 1.

    @raise SystemExit: always.
    """
    raise SystemExit(f"{program}: " + " ".join(message.split()))


class CommandLine(usage.Options):
    """The command line of one program, which a subclass defines.

    @cvar program: the name of the program.
    @cvar table: its options.
    @cvar longdesc: its description, for C{--help}.
    @cvar common: the options in the short help, with their short descriptions.
    @cvar examples: what each example of the short help does, and its command line.
    @ivar arguments: the given options, for L{egress.config.sources.gather}.
    @ivar checks: whether only the configuration is checked.
    """

    program: ClassVar[str]
    table: ClassVar[tuple[Option, ...]]
    longdesc: ClassVar[str]
    common: ClassVar[Mapping[str, str]]
    examples: ClassVar[tuple[tuple[str, str], ...]]
    synopsis = "[options]"

    def __init_subclass__(cls) -> None:
        """Add a method for each option name, as C{usage.Options} requires."""
        super().__init_subclass__()
        for name, option in by_name(cls.table).items():
            setattr(cls, "opt_" + name.replace("-", "_"), _takes(option, name))

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arguments: dict[str, list[str]] = {}
        self.checks = False

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"{self.program} {__version__} ({build_name()} build, Twisted {twisted.__version__})")
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
            found = sorted(name for name in (*names, *_HELP) if name.startswith(prefix[1]))
            return f"write one of {', '.join(f'--{name}' for name in found)}"
        unknown = re.fullmatch(r"option --?(\S+) not recognized", message)
        if unknown is None:
            return "--help lists the options"
        if self._belongs_to_twistd(unknown[1]):
            dashes = "-" if len(unknown[1]) == 1 else "--"
            return f"it is an option of twistd, which comes first: twistd {dashes}{unknown[1]} {self.program}"
        close = similar(unknown[1], (*names, *_HELP))
        return f"did you mean --{close}?" if close else "--help-all lists the options"

    def _belongs_to_twistd(self, name: str) -> bool:
        parent = getattr(self, "parent", None)
        if parent is None:
            return False
        short: str = parent.shortOpt
        return name in short.replace(":", "") or name in [each.rstrip("=") for each in parent.longOpt]

    def opt_check(self) -> None:
        """Check the configuration instead of starting."""
        self.checks = True

    def opt_help(self) -> None:
        """Show the common options, and exit."""
        self._show(short_help(self.table, self.common, self.examples, [_CHECK]))

    # usage.Options has only the long form.
    opt_h = opt_help

    def opt_help_all(self) -> None:
        """Show all options, and exit."""
        self._show(full_help(self.table))

    def opt_help_for(self, group: str) -> None:
        """Show the options of a group, and exit."""
        shown = [option for option in self.table if option.group.lower() == group.lower()]
        if not shown:
            names = ", ".join(group_names(self.table))
            exit_with(self.program, f"--help-for {group!r}: write one of {names}")
        self._show(full_help(shown))

    def _show(self, text: str) -> NoReturn:
        synopsis = self.getSynopsis()
        # A reader that closes the pipe early, such as head, has read enough.
        with suppress(BrokenPipeError):
            print(f"{synopsis}\n\n{paragraph(self.longdesc)}\n\n{text}", flush=True)
        raise SystemExit(0)

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
        """Format the options (C{usage.Options.getUsage})."""
        return f"\n{paragraph(self.longdesc)}\n\n{full_help(self.table)}\n"


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
