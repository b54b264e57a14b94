"""Tests for L{egress.workers.shared_sockets}."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.python.lockfile import FilesystemLock
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.runtime.activation import Passed
from egress.transport.tcp_reactor import BACKLOG
from egress.workers.shared_sockets import SharedListeners, make_stream
from tests.runtime.test_activation import Activated


class FakeSocket:
    """A socket in the network of one machine, which tracks shared ports and listeners."""

    def __init__(self, network: Network, family: int) -> None:
        self.network = network
        self.family = family
        self.number = 10 + len(network.made)
        self.options: set[int] = set()
        self.address: tuple[Any, ...] | str | None = None
        self.backlog: int | None = None
        self.blocking = True
        self.closed = False

    def __enter__(self) -> FakeSocket:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self.number

    def setblocking(self, flag: bool) -> None:
        self.blocking = flag

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.add(option)

    def bind(self, address: Any) -> None:
        if self.family == socket.AF_UNIX:
            os.mknod(address, stat.S_IFSOCK | 0o777)
        else:
            address = (address[0], address[1] or 49152, *address[2:])
        self.address = address
        self.network.check(self)

    def getsockname(self) -> Any:
        return self.address

    def listen(self, backlog: int) -> None:
        self.network.check(self)
        self.backlog = backlog

    def close(self) -> None:
        self.closed = True


class Network:
    """The sockets that were made."""

    def __init__(self) -> None:
        self.made: list[FakeSocket] = []
        self.others: set[int] = set()

    def make(self, family: int) -> Any:
        made = FakeSocket(self, family)
        self.made.append(made)
        return made

    def check(self, one: FakeSocket) -> None:
        """Check a port as Linux does with SO_REUSEADDR: several sockets may be bound to it until one listens."""
        assert one.address is not None
        for other in self.made:
            if other.backlog is not None and not other.closed and other.address == one.address and other is not one:
                raise OSError(errno.EADDRINUSE, "Address already in use")
        if isinstance(one.address, tuple) and one.address[1] in self.others:
            raise OSError(errno.EADDRINUSE, "Address already in use")

    def open(self) -> list[FakeSocket]:
        return [each for each in self.made if not each.closed]


class ListenersTestCase(SynchronousTestCase):
    """Base: a network in memory."""

    def setUp(self) -> None:
        self.network = Network()

    def make(self, *descriptions: str, workers: int = 2) -> SharedListeners:
        return SharedListeners(descriptions, workers, self.network.make)


class ListenersTests(ListenersTestCase):
    """One socket for all workers."""

    def test_tcp(self) -> None:
        bound = self.make("tcp:8080:interface=127.0.0.1:backlog=7")
        bound.bind()
        self.assertEqual(bound.addresses, (IPv4Address("TCP", "127.0.0.1", 8080),))
        (only,) = self.network.open()
        # No connection is accepted yet.
        self.assertIsNone(only.backlog)
        bound.listen()
        self.assertEqual((only.backlog, only.blocking, only.options), (7, False, {socket.SO_REUSEADDR}))
        self.assertEqual([bound.of(index) for index in range(2)], [[(2, only.number)]] * 2)
        self.assertEqual(bound.shared, (True,))
        bound.close()
        self.assertEqual((self.network.open(), bound.addresses), ([], ()))

    def test_ipv6(self) -> None:
        bound = self.make("tcp6:8080:interface=\\:\\:1", "tcp:8081:interface=\\:\\:1")
        bound.bind()
        self.assertEqual(bound.addresses, (IPv6Address("TCP", "::1", 8080), IPv6Address("TCP", "::1", 8081)))
        self.assertEqual({each.family for each in self.network.open()}, {socket.AF_INET6})

    def test_default_backlog(self) -> None:
        """As long as that of a proxy without workers."""
        bound = self.make("tcp:0", workers=3)
        bound.bind()
        bound.listen()
        (only,) = self.network.open()
        self.assertEqual((only.address, only.backlog), (("", 49152), BACKLOG))

    def test_several_endpoints(self) -> None:
        bound = self.make("tcp:8080", "tcp:8081")
        bound.bind()
        self.assertEqual([address.port for address in bound.addresses], [8080, 8081])  # type: ignore[attr-defined]
        (_, first), (_, second) = bound.of(1)
        self.assertNotEqual(first, second)

    def test_other_endpoint_kinds(self) -> None:
        for description in ("ssl:8443", "haproxy:tcp:8080", "fd:3"):
            with self.subTest(description):
                error = self.assertRaises(ConfigError, self.make, description)
                self.assertEqual((error.option, error.value), ("--listen", description))

    def test_real_sockets(self) -> None:
        with make_stream(socket.AF_INET) as made:
            self.assertEqual(made.type, socket.SOCK_STREAM)


class ActivatedTests(ListenersTestCase):
    """Sockets that systemd passed."""

    def passed(self, *descriptions: str, count: int = 1, workers: int = 2) -> tuple[SharedListeners, list[Activated]]:
        sockets = [Activated() for _ in range(count)]
        passed = Passed(range(3, 3 + count), ["proxy"] * count, lambda number: sockets[number - 3])  # type: ignore[arg-type,return-value]
        return SharedListeners(descriptions, workers, self.network.make, passed), sockets

    def test_one_for_all(self) -> None:
        bound, (only,) = self.passed("systemd:name=proxy")
        bound.bind()
        self.assertEqual(bound.addresses, (IPv4Address("TCP", "127.0.0.1", 8080),))
        bound.listen()
        self.assertEqual([bound.of(index) for index in range(2)], [[(socket.AF_INET, only.fileno())]] * 2)
        self.assertEqual(bound.shared, (True,))
        bound.close()
        self.assertTrue(only.closed)

    def test_one_for_each(self) -> None:
        bound, sockets = self.passed("systemd:", count=2)
        bound.bind()
        self.assertEqual(
            [bound.of(index) for index in range(2)], [[(socket.AF_INET, each.fileno())] for each in sockets]
        )
        self.assertEqual(bound.shared, (False,))

    def test_other_numbers(self) -> None:
        bound, sockets = self.passed("systemd:", count=3)
        self.assertIn("set --workers 3", self.assertRaises(ConfigError, bound.bind).remedy)
        self.assertTrue(all(each.closed for each in sockets))

    def test_missing(self) -> None:
        bound, _ = self.passed("tcp:8080", "systemd:name=other")
        self.assertRaises(ConfigError, bound.bind)
        self.assertEqual((self.network.open(), bound.addresses), ([], ()))


class BusyTests(ListenersTestCase):
    """A port in use is an error."""

    def test_port_in_use(self) -> None:
        self.network.others.add(8081)
        bound = self.make("tcp:8080", "tcp:8081:interface=127.0.0.1")
        error = self.assertRaises(CannotListenError, bound.bind)
        self.assertEqual((error.interface, error.port), ("127.0.0.1", 8081))
        self.assertEqual((self.network.open(), bound.addresses), ([], ()))

    def test_another_proxy_with_workers(self) -> None:
        first = self.make("tcp:8080")
        first.bind()
        first.listen()
        self.assertRaises(CannotListenError, self.make("tcp:8080").bind)
        self.assertEqual(len(self.network.open()), 1)

    def test_another_proxy_at_the_same_time(self) -> None:
        first, second = self.make("tcp:8080"), self.make("tcp:8080")
        first.bind()
        second.bind()
        first.listen()
        error = self.assertRaises(CannotListenError, second.listen)
        self.assertEqual((error.interface, error.port), ("", 8080))
        self.assertEqual(len(self.network.open()), 1)


class UnixTests(ListenersTestCase):
    """One socket for all workers."""

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp())
        self.lock = Path(f"{self.path}.lock")

    def test_unix(self) -> None:
        bound = self.make(f"unix:{self.path}:mode=600:backlog=9")
        bound.bind()
        (only,) = self.network.made
        self.assertEqual(bound.addresses, (UNIXAddress(os.fsencode(self.path)),))
        self.assertEqual([bound.of(index) for index in range(2)], [[(socket.AF_UNIX, only.number)]] * 2)
        self.assertEqual((only.backlog, self.path.stat().st_mode & 0o777), (None, 0o600))
        bound.listen()
        self.assertEqual(only.backlog, 9)
        self.assertTrue(self.lock.is_symlink())
        bound.close()
        self.assertTrue(only.closed)
        self.assertFalse(self.path.exists() or self.lock.is_symlink())

    def test_without_a_lock(self) -> None:
        bound = self.make(f"unix:{self.path}:lockfile=0")
        bound.bind()
        self.assertFalse(self.lock.is_symlink())
        bound.close()

    def test_socket_of_a_crashed_process(self) -> None:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(self.path))
        # No process has this number.
        self.lock.symlink_to("4194305")
        bound = self.make(f"unix:{self.path}")
        bound.bind()
        bound.close()

    def test_a_regular_file_is_not_removed(self) -> None:
        self.path.write_text("mine")
        self.lock.symlink_to("4194305")
        self.assertRaises(CannotListenError, self.make(f"unix:{self.path}").bind)
        self.assertEqual((self.path.read_text(), self.network.open()), ("mine", []))

    def test_another_process_listens(self) -> None:
        lock = FilesystemLock(str(self.lock))
        lock.lock()
        self.addCleanup(lock.unlock)
        error = self.assertRaises(CannotListenError, self.make(f"unix:{self.path}").bind)
        self.assertIn("another process", str(error))

    def test_a_lock_that_cannot_be_made(self) -> None:
        error = self.assertRaises(CannotListenError, self.make(f"unix:{self.path}/missing").bind)
        self.assertEqual(error.socketError.errno, errno.ENOENT)

    def test_cannot_listen(self) -> None:
        bound = self.make(f"unix:{self.path}")
        bound.bind()
        self.patch(self.network, "check", self.fail_to_listen)
        error = self.assertRaises(CannotListenError, bound.listen)
        self.assertEqual(error.port, str(self.path))
        self.assertFalse(self.path.exists())

    def fail_to_listen(self, one: FakeSocket) -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")
