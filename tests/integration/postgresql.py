"""A PostgreSQL of Debian for tests: a cluster in a temporary directory, run by a user without privileges."""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

PROGRAMS = Path("/usr/lib/postgresql")
SUPERUSER = "postgres"
PASSWORD = "correct horse: battery/staple"


def programs() -> Path | None:
    """Return the directory of the newest installed version; C{None} without one."""
    found = sorted(PROGRAMS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@cache
def server() -> Server:
    """Return the server of this process, which its end stops."""
    found = Server()
    atexit.register(found.remove)
    return found


class Server:
    """A server on a TCP port of this machine and on a socket.

    @ivar port: the port.
    @ivar directory: the directory of its files.
    """

    def __init__(self) -> None:
        found = programs()
        assert found is not None, "PostgreSQL is not installed: run tests/install"
        self._programs = found
        self.directory = Path(tempfile.mkdtemp(prefix="egress-pg-", dir="/tmp"))
        # The server does not run as root.
        self._credentials: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self.directory, user.pw_uid, user.pw_gid)
            self._credentials = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        password = self.directory / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            *("initdb", "-D", self.data, "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password}"),
            *("--encoding=UTF8", "--locale=C", "--no-sync"),
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(
                f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{self.directory}'\n"
                "fsync = off\nfull_page_writes = off\nmax_connections = 40\nshared_buffers = 256MB\n"
            )
        self._numbers = itertools.count(1)
        self.start()

    def _run(self, program: str, *arguments: object) -> None:
        done = subprocess.run(
            [str(self._programs / program), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
            **self._credentials,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def url(self, database: str = SUPERUSER, *, user: str = SUPERUSER, parameters: str = "sslmode=disable") -> str:
        """Return the URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}?{parameters}"

    def create_database(self) -> str:
        """Create an empty database, and return its name."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return name

    def run(self, statement: str, database: str = SUPERUSER) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; return its rows, if there are any."""
        with psycopg.connect(self.url(database), password=PASSWORD, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description is not None else []

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        with (self.directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
                **self._credentials,
            )
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + 60
        while subprocess.run(ready, check=False).returncode:
            log_text = (self.directory / "log").read_text()[-2000:]
            assert self._process.poll() is None and time.monotonic() < deadline, log_text
            time.sleep(0.02)

    @property
    def is_running(self) -> bool:
        """Whether the server runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill all processes of the server, which then has lost every connection."""
        processes = self._processes()
        self.signal(signal.SIGKILL)
        self._process.wait()
        # A process that still ends uses the shared memory, so that no server can start.
        while any(map(_runs, processes)):
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server."""
        for process in self._processes():
            os.kill(process, number)

    def _processes(self) -> list[int]:
        main = self._process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        return [main, *map(int, children)]

    def remove(self) -> None:
        """Stop the server, and remove its files."""
        if self._process.poll() is None:
            # An immediate shutdown.
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self.directory)


def _runs(process: int) -> bool:
    """Return whether a process exists, and is not only waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
