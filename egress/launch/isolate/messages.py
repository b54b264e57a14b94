"""Messages between the proxy and the helper, one in each packet of a socket pair, and the command in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

# More than the longest message, and than the number of descriptors in one.
MAX_BYTES: Final = 65536
MAX_DESCRIPTORS: Final = 16

# The proxy writes the command to a file, sends its descriptor with this message, and the helper runs it.
RUN: Final = b"run"


class Ready(NamedTuple):
    """The sandbox exists; the descriptors of its sockets come with the message.

    @ivar sockets: the name of the socket for each descriptor.
    """

    sockets: Sequence[str]


class Failed(NamedTuple):
    """The sandbox does not exist.

    @ivar step: what failed, a name of L{egress.launch.isolate.diagnosis}.
    @ivar error_number: the C{errno}.
    @ivar detail: the text of the error.
    """

    step: str
    error_number: int
    detail: str


class View(NamedTuple):
    """What the command sees of the file system.

    @ivar writable: if not C{None}, all directories except these and private temporary ones are read-only.
    @ivar visible: files and directories that remain visible below a private temporary directory.
    """

    writable: Sequence[str] | None = None
    visible: Sequence[str] = ()


class Command(NamedTuple):
    """What to run.

    @ivar executable: the file.
    @ivar arguments: the name of the program and its arguments.
    @ivar environ: the whole environment.
    @ivar hidden: files and directories that are empty for the command.
    """

    executable: str
    arguments: Sequence[str]
    environ: Mapping[str, str]
    hidden: Sequence[str]


def encode(sent: Ready | Failed) -> bytes:
    """Return a message of the helper."""
    return json.dumps({"kind": type(sent).__name__, **sent._asdict()}).encode()


def decode(data: bytes) -> Ready | Failed:
    """Return the message of a helper.

    @raise ValueError: if it is not one.
    """
    try:
        members = json.loads(data)
        kinds: dict[str, type[Ready] | type[Failed]] = {"Ready": Ready, "Failed": Failed}
        return kinds[members.pop("kind")](**members)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a message of the helper: {data[:80]!r}") from error


def encode_command(command: Command) -> bytes:
    """Return a command as the content of a file.  Names and values that are not UTF-8 are preserved."""
    return json.dumps(command._asdict()).encode()


def decode_command(data: bytes) -> Command:
    """Return the command of a file that L{encode_command} filled."""
    return Command(**json.loads(data))


def encode_view(view: View) -> str:
    """Return a view as an argument of the helper."""
    return json.dumps(view._asdict())


def decode_view(text: str) -> View:
    """Return the view of an argument that L{encode_view} made."""
    return View(**json.loads(text))
