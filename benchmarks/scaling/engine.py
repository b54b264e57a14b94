"""What an engine has done: its commands, and its CPU time."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT = 10.0

# What replicas send.  Others are commands of their scripts.
_SENT = frozenset({"eval", "set", "exists", "xread", "xadd"})


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


def _info(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT)
        connection.connect(str(path))
        connection.sendall(b"INFO all\r\n")
        data = b""
        while b"\r\n" not in data:
            data += connection.recv(65536)
        # A reply of this type begins with its length (RESP, bulk strings).
        first, _, content = data.partition(b"\r\n")
        while len(content) < int(first[1:]):
            content += connection.recv(65536)
        return content.decode("utf-8")
