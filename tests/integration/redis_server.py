"""A Redis of Debian for tests, without files."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import hiredis

from tests.integration.processes import environment, program


class RedisServer:
    """A server on a UNIX socket.

    @param options: further options, such as those of a TCP port with TLS.
    @ivar path: the path of the socket.
    """

    def __init__(self, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="egress-redis-", dir="/tmp"))
        self.path = self.directory / "redis.sock"
        self._options = options
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it accepts commands."""
        self.path.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [program("redis-server"), "--port", "0", "--unixsocket", str(self.path), "--save", "", *self._options],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment(),
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.run("PING") is not None:
                    return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)

    @property
    def location(self) -> str:
        """The location of its socket, for C{--shared}."""
        return f"unix:{self.path}"

    def run(self, *command: Any) -> Any:
        """Run a command, and return its reply."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self.path))
            return reply_to(connection, *command)

    def values(self) -> dict[bytes, bytes]:
        """Return all values."""
        return {name: self.run("GET", name) for name in self.run("KEYS", "*") if self.run("TYPE", name) == b"string"}

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the server."""
        self._process.kill()
        self._process.wait()

    def remove(self) -> None:
        """Stop the server, and remove its files."""
        self.kill()
        shutil.rmtree(self.directory)


def reply_to(connection: socket.socket, *command: Any) -> Any:
    """Send a command over a connection, and return its reply."""
    reader = hiredis.Reader()
    connection.sendall(hiredis.pack_command(command))
    while (reply := reader.gets()) is False:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError
        reader.feed(data)
    return reply
