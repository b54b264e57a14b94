"""The parsers of the command line: groups of commands, and help with examples."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, NoReturn

from egress.config.option import similar

_INDENT: Final = "  "


class HelpFormatter(argparse.HelpFormatter):
    """Formats help: wraps the paragraphs of a description, and leaves blocks with indented lines as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = (block.strip("\n") for block in text.split("\n\n"))
        return "\n\n".join(
            textwrap.indent(block, indent)
            if f"\n{_INDENT}" in block or block.startswith(_INDENT)
            else "\n".join(f"{indent}{line}" for line in self._split_lines(block, width - len(indent)))
            for block in blocks
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        # The names of options stay whole.
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """The parser of C{egress} or of one of its commands.

    @cvar shows_all: whether the options that C{--help} leaves out have a help text, for completion.
    @ivar values: arguments that match are values, although they begin with a dash; C{None}: there are no such values.
    """

    shows_all: ClassVar[bool] = False
    values: re.Pattern[str] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error, with the name that the user may have meant (C{argparse}).

        @raise SystemExit: with status 2.
        """
        super().error(f"{message}{self._hint(message)}")

    def _parse_optional(self, arg_string: str) -> Any:
        if self.values is not None and self.values.match(arg_string):
            return None
        return super()._parse_optional(arg_string)

    def _hint(self, message: str) -> str:
        unknown = re.search(r"unrecognized arguments: --([\w-]+)", message)
        if unknown is not None:
            names = {name.removeprefix("--") for each in parsers_of(self) for name in option_names(each)}
            close = similar(unknown[1], names)
            return f"; did you mean --{close}?" if close else ""
        choice = re.search(r"invalid choice: '([^']+)' \(choose from (.*)\)", message)
        close = None if choice is None else similar(choice[1], re.findall(r"[\w-]+", choice[2]))
        return f"; did you mean {close}?" if close else ""


def parsers_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and the parsers of its commands, at all levels."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 - argparse has no other name for them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - as above
            for each in action.choices.values():
                yield from parsers_of(each)


def option_names(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the names of the options of a parser, with their dashes."""
    for action in parser._actions:  # noqa: SLF001 - as above
        yield from action.option_strings


class CompleteParser(Parser):
    """A parser for a completion script, which contains every option."""

    shows_all = True


class Commands:
    """The commands of one group, for the functions that add parsers.

    @param action: the result of C{add_subparsers}.
    @ivar summaries: the commands of this group, with their summaries.
    """

    def __init__(self, action: Any) -> None:
        self._action = action
        self.summaries: dict[str, str] = {}

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Add a command (C{argparse}, the action of C{add_subparsers})."""
        self.summaries[name] = options.get("help", "")
        parser: argparse.ArgumentParser = self._action.add_parser(name, **options)
        return parser


def listing(groups: Mapping[str, Commands]) -> str:
    """List the commands by group, for the description of the top parser.

    @param groups: the groups by their titles.
    """
    width = max((len(name) for group in groups.values() for name in group.summaries), default=0)
    return "\n\n".join(
        "\n".join([f"{title}:", *(f"  {name:<{width}}  {text}" for name, text in sorted(group.summaries.items()))])
        for title, group in groups.items()
    )


def epilog(*examples: tuple[str, str], statuses: Mapping[int | str, str] | None = None, text: str = "") -> str:
    """Write the end of a command's help.

    @param examples: what each example does, and its command line.
    @param statuses: the meanings of exit statuses.
    @param text: a paragraph above the examples.
    """
    blocks = [text] if text else []
    blocks.append("\n".join(["examples:", *(f"  # {what}\n  {line}" for what, line in examples)]))
    if statuses:
        width = max(len(str(status)) for status in statuses)
        blocks.append("\n".join(["exit status:", *(f"  {key!s:<{width}}  {text}" for key, text in statuses.items())]))
    return "\n\n".join(blocks)
