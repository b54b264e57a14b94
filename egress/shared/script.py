"""Scripts that the engine runs (Redis documentation, "EVALSHA").

An engine that knows a script runs it by its digest, so it need not receive and hash the text.  It forgets scripts when
it restarts, or when someone else becomes the master, and then responds that it does not know the script.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

Argument = bytes | str | int | float

# The user may not send the command, or the engine does not have it.  A script that the engine has begun can fail
# because its user may not execute another command: this must not match.
_NO_DIGESTS: Final = re.compile(
    r"NOPERM .* to run the 'evalsha' command|ERR unknown command ['`]evalsha['`]", re.IGNORECASE
)


class Script:
    """A script.

    @ivar text: its text in Lua.
    @ivar digest: the digest by which the engine knows it.
    """

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).hexdigest()


class Run:
    """One run of a script on some values.

    @param names: the names of the values, which are in one slot of a cluster.
    """

    __slots__ = ("_arguments", "_script")

    def __init__(self, script: Script, names: Sequence[bytes], arguments: Sequence[Argument]) -> None:
        self._script = script
        self._arguments = (len(names), *names, *arguments)

    def by_digest(self) -> tuple[Argument, ...]:
        """Return the command for an engine that knows the script."""
        return "EVALSHA", self._script.digest, *self._arguments

    def by_text(self) -> tuple[Argument, ...]:
        """Return the command for an engine that does not know the script; it does from then on."""
        return "EVAL", self._script.text, *self._arguments


def is_unknown(error: str) -> bool:
    """Return whether the engine did not run a script because it does not know the digest."""
    return error.partition(" ")[0] == "NOSCRIPT"


def accepts_no_digests(error: str) -> bool:
    """Return whether the engine did not run a script because this user cannot send digests."""
    return _NO_DIGESTS.match(error) is not None
