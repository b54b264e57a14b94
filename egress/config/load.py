"""The loader of the proxy's configuration: converts the options to one L{ProxyConfig}."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from egress.config.contradictions import RULES_DECIDE
from egress.config.model import ConfigError, Limits, ProxyConfig
from egress.config.notify import NotifySettings
from egress.config.notify_files import FileContent
from egress.config.options import OPTIONS
from egress.config.parsers import ParseContext
from egress.config.shared import SharedSettings
from egress.config.sources import gather_all, set_values, table_of
from egress.config.wording import made

# The parts of a configuration, whose fields have these prefixes.
_PARTS: Final = {"limits": Limits, "notify": NotifySettings, "shared": SharedSettings}
# The file of the default audit store in the state directory.
_STORE: Final = "audit.db"
_UPSTREAMS: Final = ("upstream_http", "upstream_https")


def load_config(
    arguments: Mapping[str, Sequence[str]],
    environ: Mapping[str, str],
    reactor: object = None,
    directory: Path | None = None,
    only: Collection[str] | None = None,
    *,
    default_store: bool = False,
) -> ProxyConfig:
    """Load a configuration.

    @param arguments: the command line: option names without the dashes, with all their values; of two names of one
        option the last one applies.
    @param environ: the environment.
    @param reactor: the reactor of the endpoints.
    @param directory: the base of relative paths; C{None}: the working directory.
    @param only: the fields to load, regardless of the other options; C{None}: all fields.
    @param default_store: whether there is an audit store in the state directory unless an option sets or unsets it;
        otherwise, this applies only to a configuration with an admin API.
    @raise ConfigError: for the first invalid value.
    """
    place = ParseContext(Path.cwd() if directory is None else directory, reactor)
    everything = gather_all(OPTIONS, arguments, environ, place)
    given = set_values(everything, only)
    if "bypass" in given and given["bypass"].conventional and given.keys().isdisjoint(_UPSTREAMS):
        # Without an upstream proxy NO_PROXY has no effect, and its author may have used the syntax of another program.
        del given["bypass"]
    read = {field: value.read() for field, value in given.items()}
    if "authz_api" in read and read.keys().isdisjoint(("authz_url", "policy", "shadow_authz_url")):
        # A user who selects the protocol of a service does not want the starter policy.
        raise given["authz_api"].refuse("has no effect without an authorization service: set --authz-url")
    more = RULES_DECIDE if only is None else ()
    try:
        store = "audit_store" not in everything and (default_store or "admin" in read)
        make = _with_store if store else _config
        return made(make, given, OPTIONS, read, more)
    except RuntimeError as error:
        raise ConfigError("--ca-dir", "", "the home directory is unknown: set a directory") from error


def _config(read: Mapping[str, Any]) -> ProxyConfig:
    return ProxyConfig(**_nested(read))


def _with_store(read: Mapping[str, Any]) -> ProxyConfig:
    """Create a configuration with the default audit store."""
    directory: Path = read.get("ca_dir") or ProxyConfig().ca_dir
    return _config({**read, "audit_store": f"sqlite:{directory / _STORE}", "audit_store_required": False})


def _nested(read: Mapping[str, Any]) -> dict[str, Any]:
    """Create the parts of a configuration from their fields."""
    fields: dict[str, Any] = {field: value for field, value in read.items() if "." not in field}
    for part, kind in _PARTS.items():
        prefix = f"{part}."
        own = {field.removeprefix(prefix): value for field, value in read.items() if field.startswith(prefix)}
        files = {field: value for field, value in own.items() if isinstance(value, FileContent)}
        own |= {field: value.content for field, value in files.items()}
        own |= {f"{field}_source": value.path for field, value in files.items()}
        fields[part] = kind(**own)
    return fields


def reference() -> str:
    """Format the table of options for the documentation, in Markdown."""
    return table_of(OPTIONS)
