"""Tests for L{egress.runtime.startup}."""

from __future__ import annotations

import errno
import os
import sys

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.config.listener import Listener
from egress.config.model import ConfigError, ProxyConfig
from egress.model.errors import WorkerFailed
from egress.runtime.startup import command_of, endpoint_of, facts_of, open_endpoints, start_fault, tcp_listeners
from tests.files import make_directory


def taken(port: int = 8080) -> CannotListenError:
    return CannotListenError("127.0.0.1", port, OSError(errno.EADDRINUSE, "Address already in use"))


class StartFaultTests(SynchronousTestCase):
    """A failed start prints one line with the remedy."""

    def test_lines(self) -> None:
        config = ProxyConfig(metrics_port=9090, admin="unix:/run/admin.sock")
        for error, expected in (
            (
                taken(),
                "--listen: cannot listen on 127.0.0.1:8080: Address already in use; stop the "
                "program that uses it, or choose another",
            ),
            (
                taken(9090),
                "--metrics-port: cannot listen on 127.0.0.1:9090: Address already in use; stop the "
                "program that uses it, or choose another",
            ),
            (
                CannotListenError("", 80, PermissionError(errno.EACCES, "Permission denied")),
                "--listen: cannot listen on *:80: Permission denied; choose a port of at least 1024, or permit "
                "the process to use lower ports",
            ),
            (
                CannotListenError("192.0.2.1", 80, OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")),
                "--listen: cannot listen on 192.0.2.1:80: Cannot assign requested address; choose an address of "
                "this machine",
            ),
            (
                CannotListenError(None, "/run/egress.sock", OSError(errno.EROFS, "Read-only file system")),
                "--listen: cannot listen on /run/egress.sock: Read-only file system; choose another",
            ),
            (
                CannotListenError("nowhere.example", 80, "name not known"),
                "--listen: cannot listen on nowhere.example:80: name not known; choose another",
            ),
            (
                CannotListenError(None, "/run/admin.sock", OSError(errno.ENOENT, "No such file or directory")),
                "--admin: cannot listen on /run/admin.sock: No such file or directory; choose another",
            ),
            (
                CannotListenError("any", b"/run/admin.sock", OSError(errno.EADDRINUSE, "Address already in use")),
                "--admin: cannot listen on /run/admin.sock: Address already in use; stop the program "
                "that uses it, or choose another",
            ),
            (ConfigError("--ca-dir", "", "make it writable"), "--ca-dir: make it writable"),
            (WorkerFailed("worker 1 is out of order"), "worker 1 is out of order"),
            (RuntimeError("what"), "cannot start: RuntimeError: what"),
        ):
            with self.subTest(expected):
                self.assertEqual(start_fault(error, config, config.admin), expected)


class CommandTests(SynchronousTestCase):
    """A program of this installation can be run from every shell."""

    def test_command(self) -> None:
        directory = make_directory(self)
        self.patch(sys, "executable", str(directory / "python3"))
        self.patch(os, "environ", {**os.environ, "PATH": "/nonexistent"})
        self.assertEqual(command_of("egress"), "egress")
        (directory / "egress").write_text("")
        self.assertEqual(command_of("egress"), str(directory / "egress"))
        (directory / "egress").chmod(0o755)
        self.patch(os, "environ", {**os.environ, "PATH": str(directory)})
        self.assertEqual(command_of("egress"), "egress")


class StartMessageTests(SynchronousTestCase):
    """Facts in columns, and the addresses of listeners."""

    def test_facts(self) -> None:
        self.assertEqual(
            facts_of("program", [("a", "1"), ("listens on", "2")]),
            [f"program {__version__}", "  a           1", "  listens on  2", ""],
        )

    def test_endpoints(self) -> None:
        for address, text in (
            (IPv4Address("TCP", "127.0.0.1", 80), "127.0.0.1:80"),
            (IPv6Address("TCP", "::1", 80), "[::1]:80"),
            (UNIXAddress(b"/run/a.sock"), "unix:/run/a.sock"),
        ):
            with self.subTest(text):
                self.assertEqual(endpoint_of(address), text)
        self.assertIn("UNIXAddress", endpoint_of(UNIXAddress(None)))


class TcpListenerTests(SynchronousTestCase):
    """The listeners that a program on a network can reach."""

    def test_url(self) -> None:
        for address, listen, url, loopback in (
            (IPv4Address("TCP", "127.0.0.1", 1), "tcp:1", "http://127.0.0.1:1", True),
            (IPv4Address("TCP", "0.0.0.0", 1), "tcp:1", "http://127.0.0.1:1", False),
            (IPv6Address("TCP", "::", 1), "ssl:1", "https://[::1]:1", False),
            (IPv6Address("TCP", "fe80::1%eth0", 1), "tcp6:1", "http://[fe80::1]:1", False),
        ):
            with self.subTest(address):
                (found,) = tcp_listeners([address], [Listener.parse(listen)])
                self.assertEqual((found.url, found.is_loopback), (url, loopback))

    def test_open(self) -> None:
        """Loopback interfaces, UNIX sockets and listeners with authentication are not open to other machines."""
        addresses = (
            UNIXAddress(b"/run/a"),
            *(IPv4Address("TCP", host, 8080) for host in ("127.0.0.1", "192.0.2.1", "0.0.0.0")),
        )
        listeners = [Listener.parse(text) for text in ("unix:/run/a", "tcp:1", "tcp:1:client-auth=f", "tcp:1")]
        tcp = tcp_listeners(addresses, listeners)
        self.assertEqual(len(tcp), 3)
        self.assertEqual(open_endpoints(tcp, lambda listener: listener.sets_auth), "0.0.0.0:8080")
        self.assertEqual(open_endpoints(tcp[:1], lambda listener: False), "")
