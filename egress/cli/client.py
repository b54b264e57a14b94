"""C{egress client}: makes a line for the file of C{--client-auth}."""

from __future__ import annotations

import argparse
import getpass
import secrets
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from egress.cli.errors import CommandFailed
from egress.cli.output import add_json, write_json
from egress.cli.parser import epilog
from egress.client_auth.htpasswd import is_name, password_line, token_line


def add_parser(commands: Any) -> None:
    """Add C{client} to the commands."""
    parser = commands.add_parser(
        "client",
        help="create the line of a client for --client-auth",
        description="Prints the line of a client for the file of --client-auth. The password comes from a prompt, or "
        "is the first line of standard input.",
        epilog=epilog(
            ("Add a client with a password", "egress client alice >> clients.txt"),
            (
                "Add a client with a generated token",
                "egress client --token build >> clients.txt",
            ),
        ),
    )
    parser.add_argument(
        "--token", action="store_true", help="generate a token, and write it to standard error; it is not stored"
    )
    add_json(parser)
    parser.add_argument("name", metavar="NAME", help="the name of the client, for the authorizer and the audit log")
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace, environ: Mapping[str, str], out: TextIO) -> None:
    name: str = given.name
    if not is_name(name):
        raise CommandFailed("a name must have up to 128 printable characters, no colon, and no # at the start")
    if given.token:
        token = secrets.token_urlsafe(32)
        line = token_line(name, token.encode("ascii"))
        if given.json:
            write_json(out, {"name": name, "line": line, "token": token})
            return
        out.write(line + "\n")
        print(f"the token of {name}: {token}", file=sys.stderr)
        return
    password = _password()
    if not password:
        raise CommandFailed("the password is empty, or the two entries differ")
    line = password_line(name, password.encode("utf-8", "surrogateescape"))
    if given.json:
        write_json(out, {"name": name, "line": line, "token": None})
    else:
        out.write(line + "\n")


def _password() -> str:
    """Read a password: twice from a terminal, or one line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    return password if getpass.getpass("Again: ") == password else ""
