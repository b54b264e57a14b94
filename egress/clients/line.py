"""Making a line of the file with the clients' secrets: C{python -m egress.clients.line NAME}."""

from __future__ import annotations

import getpass
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from egress.clients.secrets import is_name, password_line, token_line

USAGE = """\
usage: python -m egress.clients.line [--token] NAME

Prints the line of a client for the file of --client-auth, for a password that is asked for, or is the first line of
standard input. With --token it makes a token, and prints that on standard error: it is shown this once.
"""


def run(
    arguments: Sequence[str],
    out: TextIO,
    err: TextIO,
    read_password: Callable[[], str],
    new_token: Callable[[], str] = lambda: secrets.token_urlsafe(32),
) -> int:
    """Make a line.

    @param read_password: gets the password.
    @return: the exit status.
    """
    names = [argument for argument in arguments if argument != "--token"]
    if len(names) != 1 or names[0].startswith("-"):
        err.write(USAGE)
        return 2
    name = names[0]
    if not is_name(name):
        err.write("a name has up to 128 printable characters, no colon, and does not begin with #\n")
        return 1
    if "--token" in arguments:
        token = new_token()
        out.write(token_line(name, token.encode("ascii")) + "\n")
        err.write(f"the token of {name}: {token}\n")
        return 0
    password = read_password()
    if not password:
        err.write("no password was given\n")
        return 1
    out.write(password_line(name, password.encode("utf-8", "surrogateescape")) + "\n")
    return 0


def ask() -> str:
    """Get a password: twice from a terminal, or one line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    return password if getpass.getpass("Again: ") == password else ""


if __name__ == "__main__":
    raise SystemExit(run(sys.argv[1:], sys.stdout, sys.stderr, ask))
