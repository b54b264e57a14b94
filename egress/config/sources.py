"""Options in layers: the command line over the environment over a file.

Of each option only the value that counts is read, so that a variable which is meant for other programs, and which the
command line overrules, cannot keep a program from starting.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.logger import Logger

from egress.config.model import ConfigError
from egress.config.option import Option, Variable, by_name
from egress.config.parsers import BadValue, ParseContext
from egress.model.redact import redact_url, redact_userinfo
from egress.model.toml import NotToml, parse_toml

_log = Logger()

_LIST: Final = re.compile(r"[\s,]+")
_PIPE: Final = "\\|"


@attrs.frozen
class RawValue:
    """A value as it was given, not yet read.

    @ivar spelling: the option as the user spelt it.
    @ivar texts: the values of a repeatable option; one of every other.
    @ivar place: what to read it in.
    @ivar variable: the environment variable that it comes from.
    """

    option: Option
    spelling: str
    texts: tuple[str, ...]
    place: ParseContext
    variable: Variable | None = None

    @property
    def cleared(self) -> bool:
        """Whether it says that nothing is to be set."""
        return len(self.texts) == 1 and self.texts[0].strip().lower() in self.option.clear

    @property
    def conventional(self) -> bool:
        """Whether it comes from a variable that is meant for programs of all kinds."""
        return self.variable is not None and self.variable.conventional

    def read(self) -> Any:
        """Read the value.

        @raise ConfigError: when it cannot be used.
        """
        if self.variable is not None and self.variable.lenient:
            parsed = list(self._readable())
        else:
            parsed = [self._parse(text) for text in self.texts]
        return self.option.combine(parsed) if self.option.repeatable else parsed[0]

    def _readable(self) -> Iterator[Any]:
        for text in self.texts:
            try:
                yield self._parse(text)
            except ConfigError as error:
                _log.warn("skipped: {error}", error=str(error))

    def _parse(self, text: str) -> Any:
        parse = (self.variable and self.variable.parse) or self.option.parse
        try:
            if not text:
                raise BadValue("must not be empty")
            return parse(text, self.place)
        except BadValue as error:
            raise self.refuse(error.remedy, text) from error
        except UnicodeError as error:
            raise self.refuse("must be valid UTF-8", text) from error

    def refuse(self, remedy: str, text: str | None = None) -> ConfigError:
        """Make the error that refuses this value.

        @param text: the one of several values that is at fault.
        """
        shown = ",".join(self.texts) if text is None else text
        if self.variable is not None and self.variable.secret:
            shown = ""
        elif self.option.url:
            shown = redact_url(redact_userinfo(shown))
        return ConfigError(self.spelling, shown, remedy)


def gather(
    options: Sequence[Option],
    arguments: Mapping[str, Sequence[str]],
    environ: Mapping[str, str],
    place: ParseContext,
    only: Collection[str] | None = None,
) -> dict[str, RawValue]:
    """Find the value that counts for each field of a configuration.

    @param options: all that there are; the one named C{config} is the file.
    @param arguments: the command line: names of options without the dashes, and all values of each; of two names of
        one option the last counts.
    @param only: the fields that are wanted, whatever is given besides; C{None}: all.
    @return: what was given for each field; none that was cleared.
    @raise ConfigError: when the file cannot be used, or names what there is not.
    """
    known = by_name(options)
    given = dict([*_from_environment(options, environ, place), *_from_command_line(known, arguments, place)])
    file = given.pop("config", None)
    if file is not None and not file.cleared:
        given = {**dict(_from_file(known, file)), **given}
    return {field: value for field, value in given.items() if not value.cleared and (only is None or field in only)}


def _from_command_line(
    known: Mapping[str, Option], arguments: Mapping[str, Sequence[str]], place: ParseContext
) -> Iterator[tuple[str, RawValue]]:
    for name, texts in arguments.items():
        option = known[name]
        yield from _spread(RawValue(option, f"--{name}", _split(option, texts), place))


def _from_environment(
    options: Sequence[Option], environ: Mapping[str, str], place: ParseContext
) -> Iterator[tuple[str, RawValue]]:
    for option in options:
        # The one that counts most comes last.
        for variable in reversed(option.environment):
            for name in (variable.name, variable.name.lower()) if variable.conventional else (variable.name,):
                text = environ.get(name, "").strip()
                # An empty variable is what templates and shells leave behind: it is none.
                if text:
                    texts = text.split() if option.repeatable else [text]
                    yield from _spread(RawValue(option, name, _split(option, texts), place, variable))


def _from_file(known: Mapping[str, Option], file: RawValue) -> Iterator[tuple[str, RawValue]]:
    path: Path = file.read()
    try:
        table = parse_toml(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise file.refuse("must be TOML in UTF-8") from error
    except NotToml as error:
        raise file.refuse(f"must be TOML: {error}") from error
    place = ParseContext(path.parent, file.place.reactor)
    for key, value in table.items():
        spelling = f"{key if key.isprintable() else ascii(key)} in {path}"
        option = known.get(key)
        if option is None:
            close = get_close_matches(key.lower().replace("_", "-"), known, n=1)
            hint = f"did you mean {close[0]}?" if close else "the names are those of the options, without the dashes"
            raise ConfigError(spelling, "", f"there is no such option; {hint}")
        if option.name == "config":
            raise ConfigError(spelling, "", "one file cannot name another")
        yield from _spread(RawValue(option, spelling, _split(option, _texts(option, spelling, value)), place))


def _texts(option: Option, spelling: str, value: object) -> list[str]:
    """Write a value of TOML as text, to be read like any other."""
    if isinstance(value, bool) and option.flag:
        return [str(value).lower()]
    if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return [str(value)]
    if option.repeatable and isinstance(value, list) and all(isinstance(item, str) for item in value):
        # An empty list is none, where there may be none.
        return value or [option.clear[0] if option.clear else ""]
    wanted = "true or false" if option.flag else "a list of texts" if option.repeatable else "a text or a number"
    raise ConfigError(spelling, "", f"write {wanted}")


def _split(option: Option, texts: Sequence[str]) -> tuple[str, ...]:
    if not option.repeatable:
        return (texts[-1],)
    if not option.lists:
        return tuple(texts)
    return tuple(entry for text in texts for entry in _LIST.split(text) if entry) or ("",)


def _spread(given: RawValue) -> Iterator[tuple[str, RawValue]]:
    fields = (given.variable and given.variable.fields) or given.option.fields
    return ((field, given) for field in fields)


def table_of(options: Sequence[Option]) -> str:
    """Write options as a table for the documentation, in Markdown."""
    lines = ["| Option | Environment | Default | Meaning |", "| --- | --- | --- | --- |"]
    for option in options:
        names = "<br>".join(
            f"`--{name}{' ' if option.metavar else ''}{option.metavar}`" for name in (option.name, *option.aliases)
        )
        variables = "<br>".join(f"`{variable.name}`" for variable in option.environment)
        repeat = " Can be repeated." if option.repeatable else ""
        text = re.sub(r"([\\*_~])", r"\\\1", f"{option.default} | {option.help}{repeat}")
        lines.append(f"| {names.replace('|', _PIPE)} | {variables} | {text} |")
    return "\n".join(lines) + "\n"
