"""C{egress env}: writes the environment variables for programs behind a running proxy."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

from egress.cli.errors import CommandFailed
from egress.config.load import load_config
from egress.config.options import BY_NAME
from egress.launch.client_files import client_files
from egress.launch.formats import WRITERS
from egress.launch.variables import BYPASSES, client_variables
from egress.tls.issuer import CaError

# The proxy options that select the CA; their environment variables and the configuration file apply here, too.
_OPTIONS: Final = ("ca-dir", "ca-cert", "ca-key", "config")
_FIELDS: Final = ("ca_dir", "ca_cert", "ca_key")
_PROXY: Final = "http://127.0.0.1:8080"
_FOLDER: Final = "clients"


def add_parser(commands: Any) -> None:
    """Add C{env} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "env",
        help="write the environment variables for programs behind a proxy",
        description="Writes the variables that make programs use a running proxy and trust its CA, and the files that "
        "these variables name, in the directory of the CA.",
        epilog='Examples: eval "$(egress env)"; egress env --format github >> "$GITHUB_ENV".',
    )
    parser.add_argument("--proxy", metavar="URL", default=_PROXY, help="the proxy [default: %(default)s]")
    parser.add_argument("--format", choices=list(WRITERS), default="sh", help="the syntax [default: %(default)s]")
    for option in (BY_NAME[name] for name in _OPTIONS):
        parser.add_argument(
            f"--{option.name}",
            metavar=option.metavar,
            help=f"as for the proxy [default: {option.default}; environment: {option.variable.name}]",
        )
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    arguments = {name: [value] for name in _OPTIONS if (value := getattr(given, name.replace("-", "_"))) is not None}
    config = load_config(arguments, environ, only=_FIELDS)
    directory = config.ca_dir / _FOLDER
    try:
        files = client_files(config, directory, environ)
    except CaError as error:
        raise CommandFailed(str(error)) from error
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}; make it writable") from error
    variables = client_variables(_checked(given.proxy), files, environ)
    out.write(WRITERS[given.format](variables, BYPASSES))


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port:
            return url
    except ValueError:
        pass
    raise CommandFailed(f"--proxy {url!r}: write a URL with a port, as in {_PROXY}")
