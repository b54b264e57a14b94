"""A replica of a fleet: a proxy that is killed and started again, with the same ports and the same directory."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from egress.cli.admin_client import AdminApi
from egress.config.admin_endpoint import AdminEndpoint
from tests.fleet.balancer import Server
from tests.fleet.observations import id_in
from tests.integration.base import proxy_environment, start_of, tcp_addresses, twistd
from tests.integration.processes import Process, free_port

_PATIENCE = 30.0


class Replica:
    """One replica.

    @param directory: the directory of all replicas; its files are in a directory in it, which it creates.
    @param options: the options that all replicas have.
    @param env: further variables of its environment.
    @param folder: the name of the directory of its files; empty: its own name.
    @ivar audit: its audit log.
    """

    def __init__(
        self, directory: Path, name: str, options: Sequence[str], env: dict[str, str], *, folder: str = ""
    ) -> None:
        self.server = Server(name, free_port(), free_port())
        self.name = name
        self.directory = directory / (folder or name)
        self.audit = self.directory / "audit.jsonl"
        endpoint = f"unix:{self.directory}/admin.sock"
        self._env = proxy_environment(**env)
        self._start = start_of(env)
        self._arguments = twistd(
            *("--listen", f"haproxy:tcp:{self.server.port}:interface=127.0.0.1"),
            *("--metrics-port", str(self.server.health)),
            # All replicas have one CA.
            *("--ca-dir", str(directory / "ca")),
            *("--audit-log", str(self.audit)),
            *("--admin", endpoint),
            *("--workers", "1"),
            *options,
        )
        self._admin = AdminApi(AdminEndpoint.parse(endpoint), None)
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        process = self._process = Process(self._arguments, self.directory, self.name, self._env, start=self._start)
        for host, port in tcp_addresses(self._arguments):
            process.wait_for_port(port, host)
        process.wait_for_port(self.server.port)
        deadline = time.monotonic() + _PATIENCE
        while not self._accepts_commands():
            assert time.monotonic() < deadline, f"{self.name} accepts no commands"
            time.sleep(0.02)

    def _accepts_commands(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            # A killed process leaves its socket.
            return connection.connect_ex(str(self.directory / "admin.sock")) == 0

    def kill(self) -> None:
        """Kill it; its writer process stores what it has received."""
        assert self._process is not None
        self._process.popen.kill()
        self._process.popen.wait()

    def stop(self) -> list[str]:
        """Stop it.

        @return: what is wrong with its end or in its log.
        """
        if self._process is None:
            return []
        status = self._process.stop(60)
        wrong = [] if status in (-15, 143) else [f"{self.name} ended with status {status}"]
        output = self._process.output()
        if "Traceback" in output:
            wrong.append(f"the log of {self.name} has a traceback: {output[output.index('Traceback') :][:2000]}")
        return wrong

    def checks(self) -> dict[str, str]:
        """Return the readiness checks; none if it does not respond."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.server.health}/health/ready", timeout=10) as page:
                content = page.read()
        except urllib.error.HTTPError as error:
            with error:
                content = error.read()
        except OSError:
            return {}
        found: dict[str, str] = json.loads(content)["checks"]
        return found

    def wait_until_ok(self, what: str, seconds: float = _PATIENCE) -> list[str]:
        """Wait until all readiness checks pass without a note.

        @param what: after what it recovers.
        @return: the checks that do not pass.
        """
        deadline = time.monotonic() + seconds
        while True:
            found = self.checks()
            if found and all(result == "ok" for result in found.values()):
                return []
            if time.monotonic() > deadline:
                return [f"{self.name} has not recovered {seconds:.0f} s after {what}: {found}"]
            time.sleep(0.1)

    def revoke(self, kind: str, value: str) -> None:
        """Revoke decisions, as C{egress revoke} does."""
        document = {"kind": kind, "by": "fleet", **({"value": value} if value else {})}
        self._admin.call("POST", "/revocations", document)

    def pending(self) -> dict[str, str]:
        """Return the ids of the pending approvals that it lists, by the id in the URL of the request."""
        return {id_in(each["url"]): each["id"] for each in self._admin.call("GET", "/approvals")["pending"]}

    def allow(self, name: str) -> None:
        """Allow pending requests once, as C{egress approvals allow} does."""
        self._admin.call("POST", f"/approvals/{name}", {"answer": "allow", "by": "fleet"})

    def audited(self) -> list[dict[str, Any]]:
        """Return the records of requests and tunnels in its audit log."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.audit.read_text("utf-8").splitlines():
                record = json.loads(line)
                if record["stage"] != "admin":
                    found.append(record)
        return found
