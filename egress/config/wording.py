"""Configuration errors with the names that the user wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from egress.config.contradictions import Contradicted, Contradiction, check
from egress.config.model import ConfigError
from egress.config.option import Option
from egress.config.parsers import ParseContext
from egress.config.sources import RawValue, gather

_C = TypeVar("_C")


def made(
    make: Callable[[Mapping[str, Any]], _C],
    given: Mapping[str, RawValue],
    options: Sequence[Option],
    read: Mapping[str, Any],
    more: Sequence[Contradiction] = (),
) -> _C:
    """Create a configuration from parsed values.

    A variable may be set permanently, although the option that it depends on is set only sometimes: a variable without
    effect is omitted.

    @param make: creates the configuration from its fields; its errors name the fields.
    @param given: the effective values by field.
    @param options: all options.
    @param read: the parsed values by field.
    @param more: further contradictions to check.
    @raise ConfigError: names the options, variables or keys as the user spelled them.
    """
    while True:
        try:
            config = make(read)
            check(config, more)
            return config
        except Contradicted as error:
            value, contradiction = given.get(error.option), error.contradiction
            if value is not None and value.variable is not None and contradiction.unused and error.option in read:
                read = {field: one for field, one in read.items() if field != error.option}
                continue
            remedy = contradiction.remedy_for(lambda field: _spelled(field, given, options))
            if value is None:
                raise ConfigError(_spelled(error.option, given, options), "", remedy) from error
            raise value.refuse(remedy) from error


class Spellings:
    """The names of options as the user gave them: for errors that are found after the configuration is loaded.

    @param options: all options.
    @param arguments: the command line; see L{egress.config.sources.gather}.
    @param environ: the environment.
    """

    def __init__(
        self, options: Sequence[Option], arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str]
    ) -> None:
        try:
            given = gather(options, arguments, environ, ParseContext(Path()))
        except ConfigError:
            # The error that is reported names the problem.
            given = {}
        self._names = {f"--{option.name}": _given(option, given) for option in options}

    def of(self, option: str) -> str:
        """Return the name of an option, such as C{--policy}, as the user gave it."""
        return self._names.get(option) or option

    def reworded(self, error: ConfigError) -> ConfigError:
        """Return the error with the name that the user knows."""
        return ConfigError(self.of(error.option), error.value, error.remedy)


def _given(option: Option, given: Mapping[str, RawValue]) -> str | None:
    """Return how an option was spelled.  Its fields can have several sources, such as HTTP_PROXY and HTTPS_PROXY."""
    names = dict.fromkeys(given[field].spelling for field in option.fields if field in given)
    return " and ".join(names) or None


def _spelled(field: str, given: Mapping[str, RawValue], options: Sequence[Option]) -> str:
    """Return the name of a field as it was given, or its option."""
    if field in given:
        return given[field].spelling
    return next((f"--{option.name}" for option in options if field in option.fields), field)
