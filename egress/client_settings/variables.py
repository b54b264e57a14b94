"""The environment variables that make programs use a proxy and trust its CA."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs

from egress.client_settings.browser import FLAGS_VARIABLE, browser_flags
from egress.model.authority import DEFAULT_PORTS

PASSWORD: Final = "changeit"  # noqa: S105 -- the trust store has no secrets
"""The password of the Java trust store; Java's own trust store has the same one."""

CLIENT_PROXY: Final = "EGRESS_CLIENT_PROXY"
"""The variable that marks an environment for clients: commands that describe a proxy do not use it as its upstream."""

# Programs contact the hosts in these variables directly, without a decision.
BYPASSES: Final = ("NO_PROXY", "no_proxy", "NPM_CONFIG_NOPROXY")

# An empty variable would not override C{noproxy} in .npmrc.
_NPM_NO_HOST: Final = ","

_PROXY: Final = (
    CLIENT_PROXY,
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    # These override the configuration files of cargo and pip.
    *("CARGO_HTTP_PROXY", "PIP_PROXY"),
    # npm, pnpm and Yarn 1 read npm_config_*.  Later versions of Yarn reject yarn_proxy, which Yarn 1 reads, too.
    *("npm_config_proxy", "npm_config_https_proxy", "YARN_HTTP_PROXY", "YARN_HTTPS_PROXY"),
)

# A program ignores the proxy variables without its switch.
_SWITCHES: Final = (
    "NODE_USE_ENV_PROXY",  # since Node.js 24
    "PERL_LWP_ENV_PROXY",
    "ELECTRON_GET_USE_PROXY",
)

# A file in one of these variables replaces the CAs that the program trusts.
_BUNDLE: Final = (
    "SSL_CERT_FILE",  # OpenSSL, Go, httpx, uv, Ruby, .NET
    "CURL_CA_BUNDLE",  # also R
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CONDA_SSL_VERIFY",
    "HTTPLIB2_CA_CERTS",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "BUNDLE_SSL_CA_CERT",
    "COMPOSER_CAFILE",
    "PERL_LWP_SSL_CA_FILE",
    "HEX_CACERTS_PATH",
    "npm_config_cafile",
    "YARN_HTTPS_CA_FILE_PATH",
)

# A file in one of these variables is trusted in addition.
_ADDITIONAL: Final = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")

# The HTTP transports of Maven 3.9 and of Maven 4 ignore the properties of Java otherwise.
_MAVEN: Final = (
    "-Daether.connector.http.useSystemProperties=true",
    "-Daether.transport.apache.useSystemProperties=true",
)
# A daemon that runs already has the environment of an earlier command.
_GRADLE: Final = ("-Dorg.gradle.daemon=false",)


@attrs.frozen(kw_only=True)
class ClientFiles:
    """The files with the certificates that clients trust.

    @ivar ca: the CA of the proxy.
    @ivar bundle: the CAs of the system and of the proxy, in PEM.
    @ivar truststore: the same as a trust store for Java.
    @ivar wgetrc: the configuration of wget, which has no variable for its CAs.
    @ivar apt: the configuration of apt, with the proxy.
    @ivar php: a directory with configuration of PHP.
    @ivar curl: a directory with the configuration of curl; C{None} if the user has none, so that variables suffice.
    """

    ca: Path
    bundle: Path
    truststore: Path
    wgetrc: Path
    apt: Path
    php: Path
    curl: Path | None = None


def client_variables(
    proxy: str, files: ClientFiles | None, environ: Mapping[str, str], leaf_key: str | None = None
) -> dict[str, str]:
    """Return the variables to set.  The caller removes those in L{BYPASSES}.

    @param proxy: the URL of the proxy.
    @param files: the files to trust; C{None} if clients trust the CA already.
    @param environ: the environment, of which some variables are extended.
    @param leaf_key: see L{browser_flags}.
    """
    found = dict.fromkeys(_PROXY, proxy)
    found.update(dict.fromkeys(_SWITCHES, "1"))
    found[FLAGS_VARIABLE] = " ".join(browser_flags(proxy, leaf_key))
    found["npm_config_noproxy"] = _NPM_NO_HOST
    if files is not None:
        found.update(dict.fromkeys(_BUNDLE, str(files.bundle)))
        found.update(dict.fromkeys(_ADDITIONAL, str(files.ca)))
        found["WGETRC"] = str(files.wgetrc)
        if files.curl is not None:
            found["CURL_HOME"] = str(files.curl)
        found["APT_CONFIG"] = str(files.apt)
        # An empty entry is the default directory.
        found["PHP_INI_SCAN_DIR"] = f"{environ.get('PHP_INI_SCAN_DIR', '')}{os.pathsep}{files.php}"
    # Options that were set last win.
    for name, options in (
        ("JAVA_TOOL_OPTIONS", _java_options(proxy, files)),
        ("MAVEN_OPTS", _MAVEN),
        ("GRADLE_OPTS", _GRADLE),
    ):
        found[name] = " ".join(filter(None, (environ.get(name, ""), *options)))
    found.update(_git_options(proxy, environ))
    return found


def _git_options(proxy: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return variables that override C{http.proxy} in the configuration files (git-config, "ENVIRONMENT")."""
    text = environ.get("GIT_CONFIG_COUNT", "")
    number = int(text) if text.isdecimal() else 0
    return {
        "GIT_CONFIG_COUNT": str(number + 1),
        f"GIT_CONFIG_KEY_{number}": "http.proxy",
        f"GIT_CONFIG_VALUE_{number}": proxy,
    }


def _java_options(proxy: str, files: ClientFiles | None) -> Iterator[str]:
    url = urlsplit(proxy)
    port = url.port or DEFAULT_PORTS[url.scheme]
    for scheme in ("http", "https"):
        yield f"-D{scheme}.proxyHost={url.hostname}"
        yield f"-D{scheme}.proxyPort={port}"
    # The default bypasses the proxy for hosts of this machine.
    yield "-Dhttp.nonProxyHosts="
    if files is not None:
        yield f"-Djavax.net.ssl.trustStore={_java(files.truststore)}"
        yield f"-Djavax.net.ssl.trustStorePassword={PASSWORD}"


def _java(path: Path) -> str:
    # The launcher splits the variable at white space, except in quotes.
    text = str(path)
    return f'"{text}"' if any(char.isspace() for char in text) else text


def environment(
    proxy: str, files: ClientFiles | None, environ: Mapping[str, str], leaf_key: str | None = None
) -> dict[str, str]:
    """Return a whole environment for a program behind the proxy; see L{client_variables}."""
    kept = {name: value for name, value in environ.items() if name not in BYPASSES}
    return {**kept, **client_variables(proxy, files, environ, leaf_key)}
