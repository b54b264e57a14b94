"""The commands C{egressproxy} and C{egressauthz}: the plugins of C{twistd} in the foreground.

An installer of applications, such as C{uv tool} or C{pipx}, installs the commands of this package only, and not
C{twistd}.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from twisted.scripts import twistd

_FOREGROUND: Final = ("-n", "--nodaemon")


def twistd_arguments(program: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of C{twistd}.

    @param program: the name of the plugin.
    @param arguments: the arguments of the command.
    """
    first = 0
    while first < len(arguments) and arguments[first] in _FOREGROUND:
        first += 1
    return ["twistd", "-n", program, *arguments[first:]]


def egressproxy() -> None:
    """Run C{twistd -n egressproxy} with the arguments of this process."""
    _run("egressproxy")


def egressauthz() -> None:
    """Run C{twistd -n egressauthz} with the arguments of this process."""
    _run("egressauthz")


def _run(program: str) -> None:
    sys.argv[:] = twistd_arguments(program, sys.argv[1:])
    twistd.run()  # type: ignore[no-untyped-call]
