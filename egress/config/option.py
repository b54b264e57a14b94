"""The definition of an option: its names, its value and the fields that it sets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from difflib import get_close_matches
from typing import Any, Final

import attrs

from egress.config.parsers import ParseContext

# What a user may write before the name of an option, by analogy with the variables and with other programs.
_PREFIXES: Final = ("egress-proxy-", "egressproxy-", "egress-")

Parse = Callable[[str, ParseContext], Any]


@attrs.frozen(kw_only=True)
class Variable:
    """An environment variable of an option, in addition to the variable that is named after the option.

    @ivar name: the name of the variable.
    @ivar fields: the fields of L{egress.config.model.ProxyConfig} that it sets; C{None}: the fields of the option.
    @ivar parse: parses its value; C{None}: the parser of the option.
    @ivar conventional: whether many programs read it: it is also read in lower case, which then takes precedence.
    @ivar secret: whether its value is never displayed.
    @ivar lenient: whether an invalid entry is skipped with a warning, because other programs may understand it.
    """

    name: str
    fields: tuple[str, ...] | None = None
    parse: Parse | None = None
    conventional: bool = False
    secret: bool = False
    lenient: bool = False


@attrs.frozen(kw_only=True)
class Option:
    """A configuration option.

    @ivar name: the name on the command line, without the dashes, and in the file.
    @ivar group: the heading of the option in C{--help} and in the documentation.
    @ivar metavar: the placeholder of its value in C{--help}; empty for a flag.
    @ivar help: the description in C{--help} and in the documentation.
    @ivar default: the default in readable form.
    @ivar fields: the fields of L{egress.config.model.ProxyConfig} that it sets; C{config} is the file itself, and the
        prefix C{limits.} marks the fields of L{egress.config.model.Limits}.
    @ivar parse: parses one value.
    @ivar aliases: further names.
    @ivar variables: further environment variables.
    @ivar clear: the values that unset the option, regardless of a lower layer.
    @ivar repeatable: whether it can be repeated.
    @ivar lists: whether a value may be a list, separated by commas or white space.
    @ivar combine: combines the values of a repeatable option.
    @ivar url: whether values may contain credentials, which no message displays.
    @ivar secret: whether no message displays any part of a value.
    @ivar prefix: the prefix of its environment variable.
    """

    name: str
    group: str
    metavar: str
    help: str
    default: str
    fields: tuple[str, ...]
    parse: Parse
    aliases: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()
    clear: tuple[str, ...] = ()
    repeatable: bool = False
    lists: bool = False
    combine: Callable[[Sequence[Any]], Any] = tuple
    url: bool = False
    secret: bool = False
    prefix: str = "EGRESS_"

    @property
    def variable(self) -> Variable:
        """The environment variable that is named after the option."""
        return Variable(name=self.prefix + self.name.upper().replace("-", "_"))

    @property
    def environment(self) -> tuple[Variable, ...]:
        """All environment variables, in the order of precedence."""
        return (self.variable, *self.variables)

    @property
    def flag(self) -> bool:
        """Whether it takes no value on the command line."""
        return not self.metavar


def similar(given: str, names: Collection[str]) -> str | None:
    """Return the name of an option that a user may have meant; C{None} without a similar one.

    @param given: the unknown name, without dashes at its start.
    @param names: the known names.
    """
    name = given.lower().replace("_", "-")
    for prefix in _PREFIXES:
        if name.startswith(prefix) and name.removeprefix(prefix) in names:
            return name.removeprefix(prefix)
    return next(iter(get_close_matches(name, names, n=1)), None)


def by_name(options: Sequence[Option]) -> dict[str, Option]:
    """Index options by each of their names."""
    return {name: option for option in options for name in (option.name, *option.aliases)}
