"""Networks in namespaces of the kernel, which need no privileges."""

from __future__ import annotations

import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.integration.processes import Process, environment, program

_UNSHARE = ("--user", "--map-root-user", "--net", "--mount")


class Namespace:
    """A network namespace that lives as long as its process.

    @ivar prefix: runs a command in the namespace.
    @ivar pid: its process.
    """

    def __init__(self, directory: Path, name: str, *prefix: str) -> None:
        flags = ("--net",) if prefix else _UNSHARE
        script = "echo ready; exec sleep 600"
        self.process = Process([*prefix, program("unshare"), *flags, "sh", "-c", script], directory, name)
        try:
            self.process.wait_for("ready")
        except AssertionError as error:
            raise SkipTest(f"the kernel permits no user namespaces: {error}") from error
        self.pid = self.process.popen.pid
        enter = ("--preserve-credentials", "--user", "--mount") if not prefix else ()
        self.prefix = (*prefix, program("nsenter"), "--target", str(self.pid), "--net", *enter)

    def run(self, *command: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace."""
        done = subprocess.run(
            [*self.prefix, *command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{command} failed: {done.stdout}{done.stderr}")
        return done


class Gateway:
    """A gateway between a client and the Internet.

    @ivar gateway: the namespace of the gateway.
    @ivar client: the namespace of a client, whose connections arrive from C{lan0}.
    @ivar outside: the namespace of a host with the addresses 203.0.113.10 and 2001:db8::10.
    """

    def __init__(self, directory: Path) -> None:
        self.gateway = Namespace(directory, "gateway")
        self.client = Namespace(directory, "client", *self.gateway.prefix)
        self.outside = Namespace(directory, "outside", *self.gateway.prefix)
        self.gateway.run("ip", "link", "set", "lo", "up")
        self.gateway.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        self._connect(self.client, "lan0", ("10.99.0.1/24", "fd99::1/64"), ("10.99.0.2/24", "fd99::2/64"))
        self._connect(
            self.outside, "wan0", ("203.0.113.1/24", "2001:db8::1/64"), ("203.0.113.10/24", "2001:db8::10/64")
        )
        for gateway in ("10.99.0.1", "fd99::1"):
            self.client.run("ip", "route", "add", "default", "via", gateway)

    def _connect(self, other: Namespace, link: str, near: tuple[str, str], far: tuple[str, str]) -> None:
        """Connect a namespace to the gateway."""
        self.gateway.run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(other.pid))
        for namespace, name, addresses in ((self.gateway, link, near), (other, "eth0", far)):
            for address in addresses:
                # Or an IPv6 address cannot be used for a moment.
                nodad = ("nodad",) if ":" in address else ()
                namespace.run("ip", "address", "add", address, "dev", name, *nodad)
            namespace.run("ip", "link", "set", name, "up")

    def stop(self) -> None:
        """Remove the networks."""
        for namespace in (self.client, self.outside, self.gateway):
            namespace.process.stop()
