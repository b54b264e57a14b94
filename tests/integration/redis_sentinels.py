"""A master, a replica and sentinels of Redis for tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.integration.processes import environment, free_port, program
from tests.integration.redis_server import RedisServer, reply_to

NAME = "mymaster"


class SentinelProcess:
    """A sentinel, which is a Redis in another mode.

    @param lines: further lines of its configuration.
    @param port: its port; C{None}: a free one.
    @ivar port: its port.
    """

    def __init__(self, master_port: int, quorum: int, *lines: str, port: int | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="egress-sentinel-", dir="/tmp"))
        self.port = port or free_port()
        settings = [
            *(f"port {self.port}", "bind 127.0.0.1", f"dir {self.directory}"),
            f"sentinel monitor {NAME} 127.0.0.1 {master_port} {quorum}",
            f"sentinel down-after-milliseconds {NAME} 500",
            f"sentinel failover-timeout {NAME} 3000",
            *(line.format(port=self.port) for line in lines),
        ]
        # It writes to its configuration.
        path = self.directory / "sentinel.conf"
        path.write_text("\n".join(settings) + "\n")
        self._process = subprocess.Popen(
            [program("redis-server"), str(path), "--sentinel"],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment(),
        )

    def run(self, *command: Any) -> Any:
        """Run a command, and return its reply."""
        return run_at(self.port, *command)

    def knows(self, replicas: int, sentinels: int) -> bool:
        """Return whether it has found the replicas and the other sentinels."""
        try:
            found = self.run("SENTINEL", "MASTER", NAME)
        except OSError:
            assert self._process.poll() is None
            return False
        facts = dict(zip(found[::2], found[1::2], strict=True))
        return (int(facts[b"num-slaves"]), int(facts[b"num-other-sentinels"])) == (replicas, sentinels)

    def master_port(self) -> int:
        """Return the port of the master that it names."""
        return int(self.run("SENTINEL", "get-master-addr-by-name", NAME)[1])

    def remove(self) -> None:
        """Stop it, and remove its files."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.directory)


class SentinelGroup:
    """One master, one replica, and three sentinels of which two must agree.

    @ivar servers: the master and the replica, in this order.
    @ivar ports: their ports.
    @ivar sentinels: the sentinels.
    """

    def __init__(self) -> None:
        self.ports = free_port(), free_port()
        self.servers: list[RedisServer] = []
        self.sentinels: list[SentinelProcess] = []
        try:
            for port in self.ports:
                follows = ["--replicaof", f"127.0.0.1 {self.ports[0]}"] if self.servers else []
                options = ("--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0", *follows)
                self.servers.append(RedisServer("--port", str(port), *options))
            _wait(lambda: b"state=online" in self.servers[0].run("INFO", "replication"))
            # They find each other also by themselves, after some seconds.
            ports = [free_port() for _ in range(3)]
            known = [f"sentinel known-sentinel {NAME} 127.0.0.1 {port} {_identity(port)}" for port in ports]
            for index, port in enumerate(ports):
                lines = [f"sentinel myid {_identity(port)}", *known[:index], *known[index + 1 :]]
                lines.append(f"sentinel known-replica {NAME} 127.0.0.1 {self.ports[1]}")
                self.sentinels.append(SentinelProcess(self.ports[0], 2, *lines, port=port))
            _wait(lambda: all(each.knows(1, 2) for each in self.sentinels))
        except BaseException:
            self.remove()
            raise

    @property
    def location(self) -> str:
        """The location for C{--shared}."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{NAME}"

    def remove(self) -> None:
        """Stop everything, and remove the files."""
        for sentinel in self.sentinels:
            sentinel.remove()
        for server in self.servers:
            server.remove()


def _identity(port: int) -> str:
    return f"{port:040x}"


def run_at(port: int, *command: Any) -> Any:
    """Run a command on a port of this machine, and return its reply."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        return reply_to(connection, *command)


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
