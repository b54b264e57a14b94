"""The environment of the clients: variables by which a program does not use the proxy, or trusts the wrong CAs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from typing import Final

from egress.checks.finding import Finding, fault, ok, warning
from egress.checks.setup import Setup
from egress.doctor.remedies import BYPASS_VARIABLES, CA_VARIABLES, set_up, unset
from egress.model.authority import PROXY_HOST, Authority
from egress.model.errors import InvalidTarget
from egress.model.no_proxy import Bypass
from egress.model.redact import redact_url

NAME: Final = "environment"

# Names of a public registry: a whole top-level domain.  Reserved names cannot be hosts of the internet.
_RESERVED: Final = frozenset({"localhost", "local", "internal", "invalid", "test", "example", "lan", "home", "corp"})
_PAIRS: Final = (("HTTP_PROXY", "http_proxy"), ("HTTPS_PROXY", "https_proxy"))


def wide_entries(no_proxy: str) -> list[str]:
    """Return the entries of a C{NO_PROXY} that exclude far more than the hosts of an organization.

    These are C{*}, whole top-level domains, and ranges with every address.
    """
    return [entry for entry in (part.strip() for part in no_proxy.split(",")) if _is_wide(entry)]


def _is_wide(entry: str) -> bool:
    if entry in ("*", "."):
        return True
    name = entry.lower().removeprefix("*").removeprefix(".")
    if entry[:1] in ".*":
        return bool(name) and "." not in name and ":" not in name and name not in _RESERVED
    try:
        return "/" in name and ip_network(name, strict=False).prefixlen == 0
    except ValueError:
        return False


def excludes_proxy_host(no_proxy: str) -> bool:
    """Tell whether a C{NO_PROXY} excludes the address to which the proxy itself responds."""
    for entry in no_proxy.split(","):
        try:
            if Bypass.parse(entry).matches(Authority(PROXY_HOST, 443)):
                return True
        except InvalidTarget:
            # Programs ignore it.
            continue
    return False


def wide_bypasses(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that let programs contact far too many hosts, or the proxy's own address, directly."""
    return [
        name
        for name in BYPASS_VARIABLES
        if name in environ and (wide_entries(environ[name]) or excludes_proxy_host(environ[name]))
    ]


def judge_environment(setup: Setup, readable: Callable[[str], bool]) -> list[Finding]:
    """Return the faults of the environment.

    @param setup: the setup.
    @param readable: tells whether a file can be read.
    """
    return list(_faults(setup, readable)) or [ok(NAME, "names the proxy, and excludes no public hosts from it")]


def _faults(setup: Setup, readable: Callable[[str], bool]) -> Iterator[Finding]:
    environ = setup.environ
    wide = wide_bypasses(environ)
    if wide:
        entries = ", ".join(dict.fromkeys(f"{name}={environ[name]}" for name in wide))
        yield fault(NAME, f"{entries} lets programs contact hosts directly, without a decision", unset(wide))
    https = environ.get("HTTPS_PROXY") or environ.get("https_proxy")
    http = environ.get("HTTP_PROXY") or environ.get("http_proxy")
    if not https and not http:
        yield fault(NAME, "no variable names the proxy", set_up(setup))
    elif not https:
        yield fault(NAME, "HTTP_PROXY is set without HTTPS_PROXY, so https requests leave directly", set_up(setup))
    elif not http:
        yield warning(NAME, "HTTPS_PROXY is set without http_proxy, so http requests leave directly", set_up(setup))
    for upper, lower in _PAIRS:
        if environ.get(upper) and environ.get(lower) and environ[upper] != environ[lower]:
            values = f"{upper}={redact_url(environ[upper])} and {lower}={redact_url(environ[lower])}"
            yield fault(NAME, f"{values} differ, and programs read either one", set_up(setup))
    missing = [name for name in CA_VARIABLES if environ.get(name) and not readable(environ[name])]
    if missing:
        named = ", ".join(dict.fromkeys(f"{name}={environ[name]}" for name in missing))
        yield fault(NAME, f"{named}: there is no such file, or it is not readable", set_up(setup))
