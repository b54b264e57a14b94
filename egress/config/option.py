"""What an option is: its names, its value and what it sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from egress.config.parsers import ParseContext

Parse = Callable[[str, ParseContext], Any]


@attrs.frozen
class Variable:
    """An environment variable besides the one that is named after its option.

    @ivar fields: what it sets of L{egress.config.model.ProxyConfig}; C{None}: what the option sets.
    @ivar parse: how it is read; C{None}: like the option.
    @ivar conventional: whether it is one of those that many programs read: also in lower case, which then counts.
    @ivar secret: whether its value is never shown.
    @ivar lenient: whether an entry that cannot be read is skipped with a warning, since other programs may understand
        it.
    """

    name: str
    fields: tuple[str, ...] | None = None
    parse: Parse | None = None
    conventional: bool = False
    secret: bool = False
    lenient: bool = False


@attrs.frozen(kw_only=True)
class Option:
    """One option.

    @ivar name: as on the command line, without the dashes, and in the file.
    @ivar metavar: what stands for its value in C{--help}; empty for a flag.
    @ivar default: the default, for people.
    @ivar fields: what it sets of L{egress.config.model.ProxyConfig}; C{config} is the file itself, and C{limits.}
        stands before what it sets of L{egress.config.model.Limits}.
    @ivar parse: reads one value.
    @ivar clear: values that stand for "not set", whatever a lower layer says.
    @ivar repeatable: whether it can be repeated.
    @ivar lists: whether one value may be several, between commas or white space.
    @ivar combine: makes one value of those of a repeatable option.
    @ivar url: whether values may carry credentials, which no message shows.
    @ivar prefix: begins the name of its environment variable.
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
    prefix: str = "EGRESS_"

    @property
    def variable(self) -> Variable:
        """The environment variable that is named after the option."""
        return Variable(self.prefix + self.name.upper().replace("-", "_"))

    @property
    def environment(self) -> tuple[Variable, ...]:
        """All environment variables, the one that counts most first."""
        return (self.variable, *self.variables)

    @property
    def flag(self) -> bool:
        """Whether it takes no value on the command line."""
        return not self.metavar


def by_name(options: Sequence[Option]) -> dict[str, Option]:
    """Find options under each of their names."""
    return {name: option for option in options for name in (option.name, *option.aliases)}
