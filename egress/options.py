"""Reading the options: the command line over the environment over a file, into one L{ProxyConfig}.

Of each option only the value that counts is read, so that a variable which is meant for other programs, and which the
command line overrules, cannot keep the proxy from starting.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import attrs

from egress.config import AuditFailure, ConfigError, Limits, ProxyConfig
from egress.model.authority import Authority, parse_ip
from egress.ops.redact import redact_url, redact_userinfo
from egress.option import Option, Variable
from egress.option_table import BY_NAME, OPTIONS
from egress.values import BadValue, Place

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

_LIST: Final = re.compile(r"[\s,]+")
_TCP_LISTENER: Final = re.compile(r"tcp6?:(?:port=)?([0-9]{1,5})")
_INTERFACE: Final = re.compile(r":interface=((?:\\.|[^:\\])*)")
_PIPE: Final = "\\|"
_LIMITS: Final = "limits."
_UPSTREAMS: Final = ("upstream_http", "upstream_https")


@attrs.frozen
class Given:
    """A value as it was given, not yet read.

    @ivar spelling: the option as the user spelt it.
    @ivar texts: the values of a repeatable option; one of every other.
    @ivar place: what to read it in.
    @ivar variable: the environment variable that it comes from.
    """

    option: Option
    spelling: str
    texts: tuple[str, ...]
    place: Place
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
        parsed = [self._parse(text) for text in self.texts]
        return self.option.combine(parsed) if self.option.repeatable else parsed[0]

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


def load_config(
    arguments: Mapping[str, Sequence[str]],
    environ: Mapping[str, str],
    reactor: object = None,
    directory: Path | None = None,
    only: Collection[str] | None = None,
) -> ProxyConfig:
    """Read a configuration.

    @param arguments: the command line: names of options without the dashes, and all values of each; of two names of
        one option the last counts.
    @param environ: the environment.
    @param reactor: the one that endpoints will be made for.
    @param directory: where relative paths start; C{None}: the working directory.
    @param only: the fields that are wanted, whatever is given besides; C{None}: all.
    @raise ConfigError: for the first value that cannot be used.
    """
    place = Place(Path.cwd() if directory is None else directory, reactor)
    given = dict([*_from_environment(environ, place), *_from_command_line(arguments, place)])
    file = given.pop("config", None)
    if file is not None and not file.cleared:
        given = {**dict(_from_file(file)), **given}
    given = {field: value for field, value in given.items() if not value.cleared and (only is None or field in only)}
    if "bypass" in given and given["bypass"].conventional and given.keys().isdisjoint(_UPSTREAMS):
        # Without an upstream proxy NO_PROXY says nothing, and whoever set it may have meant another syntax.
        del given["bypass"]
    if "policy" in given and "authz_url" in given:
        other = given["authz_url"].spelling
        raise given["policy"].refuse(f"cannot decide together with {other}: leave one out, or write none for it")
    if "shadow_policy" in given and "shadow_authz_url" in given:
        raise given["shadow_policy"].refuse(f"one shadow at a time: leave out {given['shadow_authz_url'].spelling}")
    if "shadow_log" in given and given.keys().isdisjoint(("shadow_policy", "shadow_authz_url")):
        raise given["shadow_log"].refuse("there is no shadow: name one with --shadow-policy or --shadow-authz-url")
    if "ca_name_constraints" in given and "ca_cert" in given:
        other = given["ca_cert"].spelling
        raise given["ca_name_constraints"].refuse(f"{other} has those that it was issued with: leave one out")
    read = {field: value.read() for field, value in given.items()}
    if "authz_client_cert" in read and read.get("authz_url", "").startswith("http:"):
        raise given["authz_client_cert"].refuse("a certificate can be shown to an https:// --authz-url only")
    if "audit_failure" in read and "audit_log" not in read and read["audit_failure"] is AuditFailure.DENY:
        raise given["audit_failure"].refuse("there is no audit log that could fail: name one with --audit-log")
    try:
        config = ProxyConfig(**_nested(read))
    except RuntimeError as error:
        raise ConfigError("--ca-dir", "", "name a directory: the home directory is not known") from error
    for field in _UPSTREAMS:
        if field in read and any(_listens_on(entrance.endpoint, read[field].authority) for entrance in config.listen):
            raise given[field].refuse("this is the proxy itself: name another one, or none")
    return config


def _nested(read: Mapping[str, Any]) -> dict[str, Any]:
    """Gather what belongs to the limits."""
    limits = {field.removeprefix(_LIMITS): value for field, value in read.items() if field.startswith(_LIMITS)}
    fields = {field: value for field, value in read.items() if not field.startswith(_LIMITS)}
    return {**fields, "limits": Limits(**limits)}


def _from_command_line(arguments: Mapping[str, Sequence[str]], place: Place) -> Iterator[tuple[str, Given]]:
    for name, texts in arguments.items():
        option = BY_NAME[name]
        yield from _spread(Given(option, f"--{name}", _split(option, texts), place))


def _from_environment(environ: Mapping[str, str], place: Place) -> Iterator[tuple[str, Given]]:
    for option in OPTIONS:
        # The one that counts most comes last.
        for variable in reversed(option.environment):
            for name in (variable.name, variable.name.lower()) if variable.conventional else (variable.name,):
                text = environ.get(name, "").strip()
                # An empty variable is what templates and shells leave behind: it is none.
                if text:
                    texts = text.split() if option.repeatable else [text]
                    yield from _spread(Given(option, name, _split(option, texts), place, variable))


def _from_file(file: Given) -> Iterator[tuple[str, Given]]:
    path: Path = file.read()
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise file.refuse("must be TOML in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise file.refuse(f"must be TOML: {error}") from error
    place = Place(path.parent, file.place.reactor)
    for key, value in table.items():
        spelling = f"{key if key.isprintable() else ascii(key)} in {path}"
        option = BY_NAME.get(key)
        if option is None:
            close = get_close_matches(key.lower().replace("_", "-"), BY_NAME, n=1)
            hint = f"did you mean {close[0]}?" if close else "the names are those of the options, without the dashes"
            raise ConfigError(spelling, "", f"there is no such option; {hint}")
        if option.name == "config":
            raise ConfigError(spelling, "", "one file cannot name another")
        yield from _spread(Given(option, spelling, _split(option, _texts(option, spelling, value)), place))


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


def _spread(given: Given) -> Iterator[tuple[str, Given]]:
    fields = (given.variable and given.variable.fields) or given.option.fields
    return ((field, given) for field in fields)


def _listens_on(description: str, authority: Authority) -> bool:
    """Whether an endpoint is where an authority leads, as far as one can tell without resolving or binding."""
    listener = _TCP_LISTENER.match(description)
    if listener is None or int(listener[1]) != authority.port:
        return False
    found = _INTERFACE.search(description)
    interface = re.sub(r"\\(.)", r"\1", found[1]) if found else ""
    if authority.host == interface:
        return True
    address = authority.ip
    loopback = authority.host == "localhost" or (address is not None and address.is_loopback)
    everywhere = interface in ("", "0.0.0.0", "::")
    return loopback and (everywhere or (authority.host == "localhost" and _is_loopback(interface)))


def _is_loopback(interface: str) -> bool:
    address = parse_ip(interface)
    return address is not None and address.is_loopback


def reference() -> str:
    """Write the table of options for the documentation, in Markdown."""
    lines = ["| Option | Environment | Default | Meaning |", "| --- | --- | --- | --- |"]
    for option in OPTIONS:
        names = "<br>".join(
            f"`--{name}{' ' if option.metavar else ''}{option.metavar}`" for name in (option.name, *option.aliases)
        )
        variables = "<br>".join(f"`{variable.name}`" for variable in option.environment)
        repeat = " May be given several times." if option.repeatable else ""
        text = re.sub(r"([\\*_~])", r"\\\1", f"{option.default} | {option.help}{repeat}")
        lines.append(f"| {names.replace('|', _PIPE)} | {variables} | {text} |")
    return "\n".join(lines) + "\n"
