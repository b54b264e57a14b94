"""The line that fixes each fault of a runtime."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from egress.checks.finding import Fix
from egress.checks.judgements import OTHER_CA, SET_CLOCK
from egress.checks.setup import Setup, trust_options, with_credentials
from egress.client_settings.variables import PASSWORD
from egress.doctor.symptoms import Cause

PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
"""The variables by which programs find the proxy."""

BYPASS_VARIABLES: Final = ("NO_PROXY", "no_proxy", "npm_config_noproxy", "NPM_CONFIG_NOPROXY")
"""The variables with hosts that programs contact without the proxy."""

CA_VARIABLES: Final = (
    *("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO"),
    *("npm_config_cafile", "NODE_EXTRA_CA_CERTS"),
)
"""The variables with files that replace, or extend, the CAs that a program trusts."""

# These do not send the credentials in the URL of a proxy.
_WITHOUT_CREDENTIALS: Final = ("java", "chromium")
_ANONYMOUS: Final = Fix("twistd -n egressproxy --listen tcp:PORT:interface=127.0.0.1:client-auth=none")

# The variables by which each runtime finds its CAs, the first one first.
_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "curl": ("CURL_CA_BUNDLE", "SSL_CERT_FILE"),
    "git": ("GIT_SSL_CAINFO",),
    "requests": ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "httpx": ("SSL_CERT_FILE",),
    "aiohttp": ("SSL_CERT_FILE",),
    "urllib": ("SSL_CERT_FILE",),
    "go": ("SSL_CERT_FILE",),
    "uv": ("SSL_CERT_FILE",),
    "npm": ("npm_config_cafile",),
    "pip": ("PIP_CERT",),
    "cargo": ("CARGO_HTTP_CAINFO",),
}
_JAVA_OPTIONS: Final = "JAVA_TOOL_OPTIONS"
# The last one wins, and is the first here.
_JAVA_VARIABLES: Final = ("_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", _JAVA_OPTIONS)
_TRUST_STORE: Final = re.compile(r'-Djavax\.net\.ssl\.trustStore=("[^"]+"|[^\s"]+)')
_STORE_PASSWORD: Final = re.compile(r"-Djavax\.net\.ssl\.trustStorePassword=(\S+)")
_NODE: Final = re.compile(r"^version v(\d+)\.(\d+)", re.MULTILINE)


def set_up(setup: Setup) -> Fix:
    """Return the line that sets all variables."""
    if setup.own:
        return Fix("egress run -- COMMAND")
    options = shlex.join(["--proxy", setup.proxy, *setup.ca_options])
    return Fix(f'eval "$(egress env {options})"')


def unset(names: Iterable[str]) -> Fix:
    """Return the line that removes variables."""
    return Fix(f"unset {' '.join(names)}")


def fix_for(
    name: str, cause: Cause, setup: Setup, *, output: str, bypasses: Sequence[str], command: Sequence[str]
) -> Fix:
    """Return the line that fixes a runtime.

    @param name: the runtime.
    @param cause: the cause of its failure.
    @param setup: the setup.
    @param output: its output.
    @param bypasses: the variables that exclude the proxy's own address, or all hosts, from the proxy.
    @param command: the command that failed.
    """
    if cause is Cause.CLOCK:
        return SET_CLOCK
    if cause is Cause.TRUST:
        return _trust(name, setup)
    if cause is Cause.DIRECT:
        return _use_proxy(name, setup, output, bypasses)
    if cause is Cause.REFUSED and not setup.own:
        return set_up(setup)
    if cause is Cause.CREDENTIALS and name in _WITHOUT_CREDENTIALS:
        return _ANONYMOUS
    if cause is Cause.CREDENTIALS:
        return set_up(attrs.evolve(setup, proxy=with_credentials(setup.proxy)))
    # Its own message has the details.
    return Fix(shlex.join(command))


def _use_proxy(name: str, setup: Setup, output: str, bypasses: Sequence[str]) -> Fix:
    read_by_npm = [each for each in bypasses if "npm" in each.lower()]
    if not any(setup.environ.get(each) for each in PROXY_VARIABLES):
        return set_up(setup)
    relevant = list(bypasses) if name == "npm" else [each for each in bypasses if each not in read_by_npm]
    if relevant and name != "java":
        return unset(relevant)
    if name == "node" and not _node_reads_variables(output):
        return Fix("install Node.js 24.5 or later: earlier versions ignore the proxy variables in fetch()")
    if name == "node" and setup.environ.get("NODE_USE_ENV_PROXY") != "1":
        return Fix("export NODE_USE_ENV_PROXY=1")
    if name == "wget" and not setup.environ.get("https_proxy"):
        return Fix(f"export https_proxy={shlex.quote(setup.proxy)} http_proxy={shlex.quote(setup.proxy)}")
    if name == "npm" and not setup.own:
        return Fix(f"npm config set https-proxy {shlex.quote(setup.proxy)}")
    if setup.own:
        return Fix(f"remove the proxy from the configuration of {name}: it overrides the environment")
    return set_up(setup)


def _node_reads_variables(output: str) -> bool:
    """Tell whether this version of Node.js supports C{NODE_USE_ENV_PROXY}: 22.21, 24.5 and later ones do."""
    found = _NODE.search(output)
    if found is None:
        return False
    major, minor = int(found[1]), int(found[2])
    return major > 24 or (major == 24 and minor >= 5) or (major == 22 and minor >= 21)


# -- trust


def _trust(name: str, setup: Setup) -> Fix:
    environ, ca, bundle = setup.environ, setup.ca, setup.bundle
    if ca is None:
        return OTHER_CA
    configured = (*CA_VARIABLES, _JAVA_OPTIONS) if name == "java" else CA_VARIABLES
    if not setup.own and name != "chromium" and not any(environ.get(each) for each in configured):
        # One line for all of them.
        return set_up(setup)
    if name == "java":
        return _java(environ, ca, setup)
    if name == "chromium":
        return _install("nss", setup)
    if setup.own:
        return Fix(f"remove the CA file from the configuration of {name}: it overrides the environment")
    if name == "node":
        return Fix(f"export NODE_EXTRA_CA_CERTS={shlex.quote(str(ca))}")
    if bundle is None:
        return set_up(setup)
    used = [each for each in _VARIABLES.get(name, ()) if environ.get(each)]
    if not used and name in _CONFIGURED:
        return _command(*_CONFIGURED[name], str(bundle))
    if name == "wget":
        return Fix(f"echo {shlex.quote(f'ca_certificate = {bundle}')} >> {environ.get('WGETRC') or '~/.wgetrc'}")
    variable = (used or [*_VARIABLES.get(name, ("SSL_CERT_FILE",))])[0]
    return Fix(f"export {variable}={shlex.quote(str(bundle))}")


_CONFIGURED: Final[Mapping[str, tuple[str, ...]]] = {
    "git": ("git", "config", "--global", "http.sslCAInfo"),
    "npm": ("npm", "config", "set", "cafile"),
    "pip": ("pip", "config", "set", "global.cert"),
}


def _command(*arguments: str) -> Fix:
    return Fix(shlex.join(arguments), arguments)


def _install(store: str, setup: Setup) -> Fix:
    """Install the CA in a kind of trust store of this machine."""
    return _command("egress", "trust", "install", "--store", store, *trust_options(setup.ca_options))


def _java(environ: Mapping[str, str], ca: Path, setup: Setup) -> Fix:
    """Import the CA into the trust store that Java uses."""
    for variable in _JAVA_VARIABLES:
        options = environ.get(variable, "")
        found = _TRUST_STORE.findall(options)
        if found:
            # Options that were set last win.
            password = (_STORE_PASSWORD.findall(options) or [PASSWORD])[-1]
            return _import(found[-1].strip('"'), password, ca)
    return _install("java", setup)


def _import(store: str, password: str, ca: Path) -> Fix:
    # keytool prompts for any other password.
    known = ("-storepass", PASSWORD) if password == PASSWORD else ()
    command = ("keytool", "-importcert", "-noprompt", "-keystore", store, *known)
    return _command(*command, "-alias", "egressproxy", "-file", str(ca))
