"""C{egress env}: writes the environment variables for programs behind a running proxy."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, Final, TextIO

from egress.cli.parser import epilog
from egress.cli.proxy_options import add_selected_options
from egress.cli.running_proxy import CA_OPTIONS, DEFAULT_URL, ProxyUrl, ca_config, write_files
from egress.client_settings.formats import WRITERS
from egress.client_settings.variables import BYPASSES, client_variables

_FOLDER: Final = "clients"


def add_parser(commands: Any) -> None:
    """Add C{env} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "env",
        help="write the environment variables for programs behind a proxy",
        description="Writes the variables that make programs use a running proxy and trust its CA, and the files that "
        "these variables name, in the directory of the CA.",
        epilog=epilog(
            ("Set the variables in this shell", 'eval "$(egress env)"'),
            ("The same in fish", "egress env --format fish | source"),
            ("For the later steps of a GitHub job", 'egress env --format github >> "$GITHUB_ENV"'),
        ),
    )
    parser.add_argument("--proxy", metavar="URL", default=DEFAULT_URL, help="the proxy [default: %(default)s]")
    parser.add_argument("--format", choices=list(WRITERS), default="sh", help="the syntax [default: %(default)s]")
    add_selected_options(parser, CA_OPTIONS)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    arguments = {name: [value] for name in CA_OPTIONS if (value := getattr(given, name.replace("-", "_"))) is not None}
    config = ca_config(arguments, environ)
    proxy = ProxyUrl(given.proxy)
    files = write_files(config, config.ca_dir / _FOLDER, proxy, environ)
    variables = client_variables(proxy.text, files, environ)
    out.write(WRITERS[given.format](variables, BYPASSES))
