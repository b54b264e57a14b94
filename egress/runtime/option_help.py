"""The help of a C{twistd} plugin: the common options with examples, all options, or the options of one group."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from egress.config.option import Option

_WIDTH: Final = 80
_COLUMN: Final = 28


def group_names(table: Iterable[Option]) -> list[str]:
    """Return the names of the groups, in lower case."""
    return [group.lower() for group in dict.fromkeys(option.group for option in table)]


def short_help(
    table: Sequence[Option],
    common: Mapping[str, str],
    examples: Sequence[tuple[str, str]],
    further: Sequence[tuple[str, str]],
) -> str:
    """Format the options that most users need, with examples.

    @param table: all options.
    @param common: the short descriptions of the common options by their names.
    @param examples: what each example does, and its command line.
    @param further: options that are no settings, with their descriptions.
    """
    parts: list[str] = []
    for group in dict.fromkeys(option.group for option in table if option.name in common):
        shown = [option for option in table if option.group == group and option.name in common]
        parts.append(_section(group, [(_name(option), common[option.name]) for option in shown]))
    lines = [line for what, command in examples for line in (f"  # {what}", f"  {command}")]
    parts.append("\n".join(["Examples:", *lines]))
    groups = ", ".join(group_names(table))
    help_options = (
        ("--help-all", f"show all {len(table)} options, with their defaults and environment variables"),
        ("--help-for GROUP", f"show the options of a group: {groups}"),
    )
    parts.append(_section("Other", [*further, *help_options, ("--version", "show the version")]))
    return "\n\n".join(parts)


def full_help(table: Iterable[Option]) -> str:
    """Format options by group, with their defaults and environment variables."""
    options = list(table)
    parts = []
    for group in dict.fromkeys(option.group for option in options):
        parts.append(f"{group}:")
        parts += [_option_help(option) for option in options if option.group == group]
    return "\n\n".join(parts)


def paragraph(text: str) -> str:
    """Wrap a paragraph."""
    return textwrap.fill(text, _WIDTH)


def _name(option: Option) -> str:
    return f"--{option.name} {option.metavar}".rstrip()


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"{title}:"]
    for name, text in rows:
        first = f"  {name}"
        if len(first) > _COLUMN - 2:
            lines.append(first)
            first = ""
        lines += textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=first.ljust(_COLUMN),
            subsequent_indent=" " * _COLUMN,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


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
