"""The options of the proxy, for commands that start or describe one."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from typing import Any, Final

from egress.config.model import ConfigError
from egress.config.option import Option
from egress.config.options import BY_NAME, OPTIONS
from egress.config.wording import Spellings

_DEST: Final = "option "


def add_proxy_options(parser: argparse.ArgumentParser, without: Collection[str] = ()) -> None:
    """Add the options of C{twistd egressproxy}, which only a L{CompleteParser<egress.cli.parser.CompleteParser>} lists.

    @param without: the names of options to leave out; that of an alias leaves out only the alias.
    """
    for option in OPTIONS:
        if option.name not in without:
            _add(parser, option, [f"--{name}" for name in (option.name, *option.aliases) if name not in without])


def also_accepts(options: str) -> str:
    """Return the sentence for the end of the help that a command has the options of the proxy.

    @param options: the most important of them.
    """
    return (
        "Also accepts the options of twistd egressproxy, its environment variables and its configuration file "
        f"({options} and others)"
    )


def add_selected_options(parser: argparse.ArgumentParser, names: Collection[str]) -> None:
    """Add some options of the proxy, in a group of their own; the variables and the configuration file apply, too.

    @param names: the names of the options, which are also the names of the arguments with underscores.
    """
    group = parser.add_argument_group("options of the proxy")
    for option in (BY_NAME[name] for name in names):
        group.add_argument(
            f"--{option.name}",
            metavar=option.metavar,
            help=f"{_summary(option)} [default: {option.default}; environment: {option.variable.name}]",
        )


def _summary(option: Option) -> str:
    """Return the first sentence of the description of an option."""
    return option.help.split(". ")[0].removesuffix(".").replace("%", "%%")


def _add(parser: argparse.ArgumentParser, option: Option, names: list[str]) -> None:
    kind: dict[str, Any] = {"action": "append_const", "const": "true"} if option.flag else {"action": "append"}
    text = _summary(option) if getattr(parser, "shows_all", False) else argparse.SUPPRESS
    if not option.flag:
        kind["metavar"] = option.metavar
    parser.add_argument(*names, dest=_DEST + option.name, help=text, **kind)


def reworded(error: ConfigError, given: argparse.Namespace, environ: Mapping[str, str]) -> ConfigError:
    """Return an error with the name of the option as the user gave it: an option, a variable, or a key of a file."""
    return Spellings(OPTIONS, given_options(given), environ).reworded(error)


def given_options(given: argparse.Namespace) -> dict[str, list[str]]:
    """Return the texts of the options that were given, by name."""
    return {
        name.removeprefix(_DEST): texts
        for name, texts in vars(given).items()
        if name.startswith(_DEST) and texts is not None
    }
