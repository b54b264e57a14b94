"""C{egress console}: prints a link that signs a browser in to the web console."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any, Final, TextIO

from egress.cli.admin_client import AdminApi, AdminFailed, add_options, admin_api
from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, write_json
from egress.cli.parser import epilog

_PORT: Final = 9099
_URL: Final = re.compile(r"https?://[^/?#@\s]+/?", re.IGNORECASE)


def add_parser(commands: Any) -> None:
    """Add C{console} to the commands."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "console",
        help="print a link that signs a browser in to the web console",
        description="Prints a link to the web console of a running proxy, which must have been started with --admin. "
        "The link signs one browser in, within a minute.",
        epilog=epilog(
            ("Sign in to the console of a proxy with --admin tcp:9099", "egress console --admin http://127.0.0.1:9099"),
            ("Let someone look, without the right to change anything", "egress console --viewer"),
            ("Sign in at a forwarded port, or behind a reverse proxy", "egress console --url http://localhost:8080"),
        ),
    )
    add_options(parser)
    parser.add_argument("--viewer", action="store_true", help="sign in as a viewer, who cannot change anything")
    parser.add_argument(
        "--url",
        type=_url,
        metavar="URL",
        help="the scheme, host and port by which the browser reaches the console [default: the endpoint of the API]",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise argparse.ArgumentTypeError("write a scheme, a host and a port, as in http://localhost:9099")
    return text.rstrip("/")


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    api = admin_api(given, environ)
    found = link(api, "viewer" if given.viewer else "admin")
    socket = api.endpoint.path
    base = given.url or (f"http://localhost:{_PORT}" if socket is not None else str(api.endpoint))
    url = f"{base}{found['path']}"
    if given.json:
        write_json(out, {"url": url, "role": found["role"], "expiresIn": found["expiresIn"]})
        return
    print(url, file=out)
    print(f"Signs one browser in as {found['role']}, within {found['expiresIn']:g} seconds.", file=out)
    if socket is not None and given.url is None:
        forward = f"ssh -L {_PORT}:{socket} HOST"
        print(f"The console is on a UNIX socket. First, on the machine of the browser: {forward}", file=out)


def link(api: AdminApi, role: str) -> dict[str, Any]:
    """Get the path of a link from a proxy.

    @raise CommandFailed: if the proxy has no console, or rejects the request.
    """
    try:
        return api.call("POST", "/console-sessions", {"role": role})
    except AdminFailed as error:
        if error.status == 404:
            raise CommandFailed("this version of the proxy has no web console: restart it") from error
        raise
