"""What an engine has done, its commands and its CPU time, and what a command costs if many arrive at a time."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from hiredis import Reader, pack_command

from egress.authz.shared_decisions import MAX_VALUE, READ

_TIMEOUT = 10.0
_CONNECTIONS = 50
_ROUNDS = 400
# The size of a sealed decision.
_VALUE = b"v" * 500

# What replicas send.  Others are commands of their scripts.
_SENT = frozenset({"eval", "evalsha", "set", "exists", "xread", "xadd"})


@dataclass(frozen=True)
class Work:
    """The work of an engine.

    @ivar commands: the number of commands that replicas sent.
    @ivar cpu: the CPU time in seconds.
    """

    commands: int
    cpu: float

    def __sub__(self, other: Work) -> Work:
        return Work(self.commands - other.commands, self.cpu - other.cpu)


def work(path: Path) -> Work:
    """Return what the engine at a socket has done since its start."""
    commands, cpu = 0, 0.0
    for line in _info(path).splitlines():
        name, _, value = line.partition(":")
        if name.removeprefix("cmdstat_") in _SENT:
            commands += int(value.partition(",")[0].removeprefix("calls="))
        elif name in ("used_cpu_user", "used_cpu_sys"):
            cpu += float(value)
    return Work(commands, cpu)


def busy(path: Path) -> float:
    """Return the CPU time of a lookup in seconds, if many replicas send one at a time.

    An engine that gets single commands needs more for each of them: it wakes up for it.
    """
    names = [b"lookup-%d" % number for number in range(2)]
    lookup = _packed("EVALSHA", READ.digest, len(names), *names, MAX_VALUE)
    with ExitStack() as stack:
        connections = [(stack.enter_context(_connect(path)), Reader()) for _ in range(_CONNECTIONS)]
        _each(connections[:1], _packed("SCRIPT", "LOAD", READ.text))
        _each(connections, _packed("SET", names[0], _VALUE, "PX", 60_000))
        before = work(path)
        for _ in range(_ROUNDS):
            _each(connections, lookup)
        done = work(path) - before
    return done.cpu / done.commands


def _packed(*arguments: str | int | bytes) -> bytes:
    # The types of hiredis have a tuple with one item.
    return bytes(pack_command(arguments))  # type: ignore[arg-type]


def _each(connections: list[tuple[socket.socket, Reader]], command: bytes) -> None:
    """Send a command over each connection, and read the replies."""
    for connection, _ in connections:
        connection.sendall(command)
    for connection, reader in connections:
        while (reply := reader.gets()) is False:
            reader.feed(connection.recv(65536))
        if isinstance(reply, Exception):
            raise reply


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_TIMEOUT)
    connection.connect(str(path))
    return connection


def _info(path: Path) -> str:
    with _connect(path) as connection:
        connection.sendall(b"INFO all\r\n")
        data = b""
        while b"\r\n" not in data:
            data += connection.recv(65536)
        # A reply of this type begins with its length (RESP, bulk strings).
        first, _, content = data.partition(b"\r\n")
        while len(content) < int(first[1:]):
            content += connection.recv(65536)
        return content.decode("utf-8")
