"""The sources of options: command-line options override environment variables, which override a file.

Only the effective value of each option is parsed.  An environment variable that is meant for other programs may be
invalid here: it does not prevent a start if the command line overrides it.
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
# The similarity of a misspelled name, from 0 to 1.  A cluster, for example, sets variables for a service that is named
# "egress", which are similar to none of the options.
_SIMILAR: Final = 0.8
_PIPE: Final = "\\|"


@attrs.frozen
class RawValue:
    """A value as text, before it is parsed.

    @ivar option: the option.
    @ivar spelling: the option as the user spelled it.
    @ivar texts: the values of a repeatable option; one value for other options.
    @ivar place: the context for parsing.
    @ivar variable: the environment variable that contains the value.
    """

    option: Option
    spelling: str
    texts: tuple[str, ...]
    place: ParseContext
    variable: Variable | None = None

    @property
    def cleared(self) -> bool:
        """Whether the value unsets the option."""
        return len(self.texts) == 1 and self.texts[0].strip().lower() in self.option.clear

    @property
    def conventional(self) -> bool:
        """Whether the value comes from an environment variable that many programs read."""
        return self.variable is not None and self.variable.conventional

    def read(self) -> Any:
        """Parse the value.

        @raise ConfigError: if it is invalid.
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
            raise self.refuse(error.remedy, str(error.part[0]) if error.part else text) from error
        except UnicodeError as error:
            raise self.refuse("must be valid UTF-8", text) from error

    def refuse(self, remedy: str, text: str | None = None) -> ConfigError:
        """Create the error for this value.

        @param remedy: the fix, in one clause.
        @param text: the invalid one of several values.
        """
        displayed = ",".join(self.texts) if text is None else text
        if self.option.secret or (self.variable is not None and self.variable.secret):
            displayed = ""
        elif self.option.url:
            displayed = redact_url(redact_userinfo(displayed))
        return ConfigError(self.spelling, displayed, remedy)


def gather(
    options: Sequence[Option],
    arguments: Mapping[str, Sequence[str]],
    environ: Mapping[str, str],
    place: ParseContext,
    only: Collection[str] | None = None,
) -> dict[str, RawValue]:
    """Determine the effective value of each field of a configuration.

    @param options: all options; the option named C{config} is the file.
    @param arguments: the command line: option names without the dashes, with all their values; of two names of one
        option the last one applies.
    @param environ: the environment.
    @param place: the context for parsing values.
    @param only: the fields to return, regardless of the other options; C{None}: all fields.
    @return: the given values by field, without unset ones.
    @raise ConfigError: if the file cannot be used, or contains an unknown option.
    """
    return set_values(gather_all(options, arguments, environ, place), only)


def set_values(given: Mapping[str, RawValue], only: Collection[str] | None = None) -> dict[str, RawValue]:
    """Return the values that do not unset their option.

    @param given: the result of L{gather_all}.
    @param only: the fields to return; C{None}: all fields.
    """
    return {field: value for field, value in given.items() if not value.cleared and (only is None or field in only)}


def gather_all(
    options: Sequence[Option], arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str], place: ParseContext
) -> dict[str, RawValue]:
    """Determine the effective value of each field, with the values that unset an option; see L{gather}.

    @raise ConfigError: if the file cannot be used, or contains an unknown option.
    """
    known = by_name(options)
    _check_names(options, environ)
    given = dict([*_from_environment(options, environ, place), *_from_command_line(known, arguments, place)])
    file = given.pop("config", None)
    if file is not None and not file.cleared:
        given = {**dict(_from_file(known, file)), **given}
    return given


def _check_names(options: Sequence[Option], environ: Mapping[str, str]) -> None:
    """Check for misspelled variables: without its policy, for example, a proxy would allow more than intended.

    @raise ConfigError: if the name of a variable is similar to that of an option.
    """
    known = {variable.name for option in options for variable in option.environment}
    for prefix in {option.prefix for option in options}:
        ours = [name.removeprefix(prefix) for name in known if name.startswith(prefix)]
        for name in sorted(environ):
            if name in known or not name.startswith(prefix):
                continue
            close = get_close_matches(name.removeprefix(prefix), ours, n=1, cutoff=_SIMILAR)
            if close:
                # The value may be a secret.
                raise ConfigError(name, "", f"is not a variable of this program: did you mean {prefix}{close[0]}?")


def _from_command_line(
    known: Mapping[str, Option], arguments: Mapping[str, Sequence[str]], place: ParseContext
) -> Iterator[tuple[str, RawValue]]:
    for name, texts in arguments.items():
        option = known[name]
        yield from _by_field(RawValue(option, f"--{name}", _split(option, texts), place))


def _from_environment(
    options: Sequence[Option], environ: Mapping[str, str], place: ParseContext
) -> Iterator[tuple[str, RawValue]]:
    for option in options:
        # The variable with the highest precedence comes last.
        for variable in reversed(option.environment):
            for name in (variable.name, variable.name.lower()) if variable.conventional else (variable.name,):
                text = environ.get(name, "").strip()
                # Templates and shells leave empty variables behind: an empty variable has no effect.
                if text:
                    texts = text.split() if option.repeatable else [text]
                    yield from _by_field(RawValue(option, name, _split(option, texts), place, variable))


def _from_file(known: Mapping[str, Option], file: RawValue) -> Iterator[tuple[str, RawValue]]:
    path: Path = file.read()
    try:
        text = path.read_text("utf-8")
        table = parse_toml(text)
    except UnicodeDecodeError as error:
        raise file.refuse("must be TOML in UTF-8") from error
    except NotToml as error:
        raise file.refuse(f"must be TOML: {error}") from error
    place = ParseContext(path.parent, file.place.reactor)
    for key, value in table.items():
        spelling = f"{key if key.isprintable() else ascii(key)} in {path}{_line_of(key, text)}"
        option = known.get(key)
        if option is None:
            close = get_close_matches(key.lower().replace("_", "-"), known, n=1)
            hint = (
                f"did you mean {close[0]}?"
                if close
                else "use the names of the command-line options, without the dashes"
            )
            raise ConfigError(spelling, "", f"unknown option; {hint}")
        if option.name == "config":
            raise ConfigError(spelling, "", "cannot be set in a configuration file: remove it")
        yield from _by_field(RawValue(option, spelling, _split(option, _texts(option, spelling, value)), place))


def _line_of(key: str, text: str) -> str:
    """Return the line of a key at the top level of a file, as a suffix of the file's name; empty if it is not found."""
    match = re.search(rf"^[ \t]*(?:\[+[ \t]*)?([\"']?){re.escape(key)}\1[ \t]*[=.\]]", text, re.MULTILINE)
    return f":{text.count(chr(10), 0, match.start()) + 1}" if match else ""


def _texts(option: Option, spelling: str, value: object) -> list[str]:
    """Convert a TOML value to text, which is then parsed like any other value."""
    if isinstance(value, bool) and option.flag:
        return [str(value).lower()]
    if isinstance(value, str) or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return [str(value)]
    if option.repeatable and isinstance(value, list) and all(isinstance(item, str) for item in value):
        # An empty list unsets the option, if the option permits that.
        return value or [option.clear[0] if option.clear else ""]
    wanted = "true or false" if option.flag else "a list of strings" if option.repeatable else "a string or a number"
    raise ConfigError(spelling, "", f"write {wanted}")


def _split(option: Option, texts: Sequence[str]) -> tuple[str, ...]:
    if not option.repeatable:
        return (texts[-1],)
    if not option.lists:
        return tuple(texts)
    return tuple(entry for text in texts for entry in _LIST.split(text) if entry) or ("",)


def _by_field(given: RawValue) -> Iterator[tuple[str, RawValue]]:
    fields = (given.variable and given.variable.fields) or given.option.fields
    return ((field, given) for field in fields)


def table_of(options: Sequence[Option]) -> str:
    """Format options as a table for the documentation, in Markdown."""
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
