"""A running proxy, for commands whose programs use it: its URL, and its CA."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from egress.cli.errors import CommandFailed
from egress.client_settings.variables import ClientFiles
from egress.config.load import load_config
from egress.config.model import ProxyConfig
from egress.launch.client_files import client_files
from egress.model.redact import redact_userinfo
from egress.tls.issuer import CaError

DEFAULT_URL: Final = "http://127.0.0.1:8080"
"""The URL of a proxy with the default listener."""

CA_OPTIONS: Final = ("ca-dir", "ca-cert", "ca-key", "ca-root", "config")
"""The proxy options that select the CA; their environment variables and the configuration file apply, too."""

_CA_FIELDS: Final = ("ca_dir", "ca_cert", "ca_key", "ca_root")
_CONNECT_SECONDS: Final = 10.0


class ProxyUrl:
    """The URL of a running proxy.

    @ivar text: the URL as given, perhaps with a password.
    @raise CommandFailed: if it is not a URL of a proxy, with the fix.
    """

    def __init__(self, text: str) -> None:
        try:
            parts = urlsplit(text)
            if parts.scheme not in ("http", "https") or not parts.hostname or not parts.port:
                raise ValueError
        except ValueError:
            raise CommandFailed(
                f"--proxy {redact_userinfo(text)!r}: write a URL with a port, as in {DEFAULT_URL}"
            ) from None
        self.text = text
        self._address = parts.hostname, parts.port

    def __str__(self) -> str:
        """Return the URL without a user name and a password."""
        return redact_userinfo(self.text)

    def check_reachable(self) -> None:
        """Connect to the proxy, and disconnect.

        @raise CommandFailed: if it cannot be connected to.
        """
        try:
            socket.create_connection(self._address, timeout=_CONNECT_SECONDS).close()
        except OSError as error:
            raise CommandFailed(
                f"--proxy {str(self)!r}: cannot connect: {error.strerror or error}; start the proxy, for example with: "
                "egressproxy"
            ) from error


def ca_config(arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> ProxyConfig:
    """Load the options that select the CA of a running proxy.

    @param arguments: the options of the command line; see L{CA_OPTIONS}.
    @raise egress.config.model.ConfigError: naming the invalid value and the fix.
    """
    return load_config(arguments, environ, only=_CA_FIELDS)


def write_files(config: ProxyConfig, directory: Path, proxy: ProxyUrl, environ: Mapping[str, str]) -> ClientFiles:
    """Write the files that clients of a running proxy trust; see L{client_files}.

    @raise CommandFailed: with the fix, if the CA cannot be read, or a file cannot be written.
    """
    try:
        return client_files(config, directory, proxy.text, environ)
    except CaError as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}; make it writable") from error


def reject_options_of_the_proxy(given: argparse.Namespace, options: Mapping[str, Sequence[str]]) -> None:
    """Check that no option of the proxy, or of its records, was given with C{--proxy}.

    @param given: the arguments of the command.
    @param options: the options of the proxy, as given.
    @raise CommandFailed: naming both options and the fix.
    """
    for name, instead in (
        ("learn", "use: egress policy suggest AUDIT_LOG --output POLICY"),
        ("lock", "use: egress lock verify AUDIT_LOG --lock FILE"),
        ("report", "use its audit log"),
    ):
        if getattr(given, name) not in (None, []):
            raise CommandFailed(
                f"--{name} and --proxy: the audit log of the running proxy has the requests; remove --{name}, and "
                f"{instead}"
            )
    if given.isolate:
        raise CommandFailed("--isolate and --proxy: the sandbox needs a proxy of its own; remove one of them")
    for name in options:
        if name not in CA_OPTIONS:
            raise CommandFailed(
                f"--{name} and --proxy: the running proxy has its own options; remove --{name}, or remove --proxy to "
                "start a proxy with it"
            )
