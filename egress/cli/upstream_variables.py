"""The variables of the upstream proxy, for commands that describe a proxy from the shell of one of its clients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from egress.client_settings.variables import CLIENT_PROXY
from egress.config.load import load_config
from egress.config.model import ProxyConfig
from egress.config.options import BY_NAME
from egress.model.authority import Authority, UpstreamProxy
from egress.model.converters import BadValue
from egress.model.text_converters import upstream_proxy

_OPTION: Final = BY_NAME["upstream-proxy"]
_NAMES: Final = tuple(
    name for variable in _OPTION.variables if variable.conventional for name in (variable.name, variable.name.lower())
)


def without_client_proxies(
    arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Remove the variables that configure the client of a proxy, and not the proxy.

    In a shell behind the proxy, C{HTTPS_PROXY} names the proxy itself.  As its upstream proxy it would resolve all
    names, so that the address guard would allow each of them.

    @param arguments: the options of the proxy on the command line.
    @param environ: the environment.
    @return: the environment of the proxy, and the removed variables.
    @raise egress.config.model.ConfigError: if an option for the listeners is invalid.
    """
    found = {name: proxy for name in _NAMES if (proxy := _parsed(environ.get(name, ""))) is not None}
    if not found:
        return dict(environ), []
    marked = _parsed(environ.get(CLIENT_PROXY, ""))
    listeners = load_config(arguments, environ, only=("listen",)).listen

    def is_own(authority: Authority) -> bool:
        if marked is not None and marked.authority == authority:
            return True
        return any(listener.listens_on(authority) for listener in listeners)

    removed = [name for name, proxy in found.items() if any(is_own(hop.authority) for hop in proxy.hops)]
    return {name: value for name, value in environ.items() if name not in removed}, removed


def _parsed(text: str) -> UpstreamProxy | None:
    """Return the proxy in a variable; C{None} if there is none, or an invalid one, which is reported later."""
    try:
        return upstream_proxy(text.strip()) if text.strip() else None
    except BadValue:
        return None


def notes(
    arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str], config: ProxyConfig, removed: Iterable[str]
) -> list[str]:
    """Describe the effect of the variables on the upstream proxy, for the user who may not expect it.

    @param arguments: the options of the proxy on the command line.
    @param environ: the environment of the proxy.
    @param config: the configuration that was loaded from both.
    @param removed: the variables that were removed from the environment.
    """
    if any(name in arguments for name in (_OPTION.name, *_OPTION.aliases)) or environ.get(_OPTION.variable.name):
        return []
    lines = []
    if names := ", ".join(removed):
        lines.append(
            f"{names}: not used as the upstream proxy, because programs in this shell use the proxy; to set an "
            "upstream proxy, use --upstream-proxy"
        )
    upstreams = {config.upstream_http, config.upstream_https} - {None}
    used = [name for name in _NAMES if _parsed(environ.get(name, "")) in upstreams]
    if used:
        lines.append(
            f"{', '.join(used)}: used as the upstream proxy; if programs in this shell use this proxy, add "
            "--upstream-proxy none"
        )
    return lines
