"""Tests for L{egress.runtime.activation}."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from itertools import count
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import succeed
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.runtime.activation import ActivatedEndpoint, Passed, inherited

LOOPBACK = ("127.0.0.1", 8080)
_numbers = count(100)


class Activated:
    """A socket that systemd has opened."""

    def __init__(
        self,
        address: tuple[Any, ...] | str | bytes = LOOPBACK,
        family: int = socket.AF_INET,
        kind: int = socket.SOCK_STREAM,
        listens: bool = True,
    ) -> None:
        self.address, self.family, self.type, self.listens = address, family, kind, listens
        self.blocking, self.closed, self.number = True, False, next(_numbers)

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return int(self.listens)

    def getsockname(self) -> tuple[Any, ...] | str | bytes:
        return self.address

    def setblocking(self, flag: bool) -> None:
        self.blocking = flag

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Activated:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def passed(*sockets: Activated, names: Sequence[str] = ()) -> Passed:
    """Pass sockets, from descriptor 3."""
    opened = dict(enumerate(sockets, 3))
    return Passed(list(opened), names, opened.__getitem__)  # type: ignore[arg-type]


class InheritedTests(SynchronousTestCase):
    """The sockets of a description."""

    def remedy(self, description: str, passed: Passed) -> str:
        error = self.assertRaises(ConfigError, inherited, description, passed)
        self.assertEqual((error.option, error.value), ("--listen", description))
        return str(error.remedy)

    def test_the_only_one(self) -> None:
        only = Activated()
        for description in ("systemd:", "systemd:index=0", "systemd:domain=INET:index=0", "systemd:name=proxy"):
            with self.subTest(description):
                found = inherited(description, passed(only, names=["proxy"]))
                self.assertEqual(found.address, IPv4Address("TCP", *LOOPBACK))
                self.assertEqual((found.family, found.sockets), (socket.AF_INET, (only,)))
                self.assertFalse(only.blocking)
        found.close()
        self.assertTrue(only.closed)

    def test_several(self) -> None:
        six, unix = Activated(("::1", 8080, 0, 0), socket.AF_INET6), Activated("/run/egress.sock", socket.AF_UNIX)
        both = passed(six, unix, names=["a", "b"])
        self.assertEqual(inherited("systemd:name=a", both).address, IPv6Address("TCP", "::1", 8080))
        self.assertEqual(inherited("systemd:index=1", both).address, UNIXAddress(b"/run/egress.sock"))
        self.assertIn("(a, b)", self.remedy("systemd:", both))
        self.assertIn("systemd passed a, b", self.remedy("systemd:name=c", both))
        self.assertIn("from 0 to 1", self.remedy("systemd:index=2", both))

    def test_one_name_for_one_port(self) -> None:
        one, two = Activated(), Activated()
        self.assertEqual(inherited("systemd:name=a", passed(one, two, names=["a", "a"])).sockets, (one, two))

    def test_one_name_for_two_ports(self) -> None:
        one, two = Activated(), Activated(("127.0.0.1", 8081))
        self.assertIn("several addresses", self.remedy("systemd:name=a", passed(one, two, names=["a", "a"])))
        self.assertTrue(one.closed and two.closed)

    def test_no_sockets(self) -> None:
        self.assertIn(".socket unit", self.remedy("systemd:", passed()))
        # The process that runs the tests has none.
        self.assertRaises(ConfigError, inherited, "systemd:")

    def test_descriptions(self) -> None:
        for description, remedy in (
            ("systemd:name", "systemd:name=NAME"),
            ("systemd:domain=INET6", "not a socket of the domain INET6"),
            ("systemd:domain=X25", "not a socket of the domain X25"),
        ):
            with self.subTest(description):
                self.assertIn(remedy, self.remedy(description, passed(Activated(), names=["a"])))

    def test_other_sockets(self) -> None:
        for other in (Activated(kind=socket.SOCK_DGRAM), Activated(listens=False)):
            self.assertIn("Accept=no", self.remedy("systemd:", passed(other)))
            self.assertTrue(other.closed)

    def test_used_twice(self) -> None:
        def closed(descriptor: int) -> socket.socket:
            raise OSError(errno.EBADF, "Bad file descriptor")

        self.assertIn("another --listen", self.remedy("systemd:", Passed([3], [], closed)))


class EndpointTests(SynchronousTestCase):
    """An inherited socket of a single process."""

    def setUp(self) -> None:
        self.adopted: list[tuple[object, ...]] = []

    def adoptStreamPort(self, descriptor: int, family: int, factory: object) -> str:
        self.adopted.append((descriptor, family, factory))
        return "port"

    def test_listen(self) -> None:
        only = Activated()
        endpoint = ActivatedEndpoint(self, "systemd:", passed(only))
        self.assertEqual(self.successResultOf(endpoint.listen("factory")), "port")
        self.assertEqual(self.adopted, [(only.number, socket.AF_INET, "factory")])
        self.assertTrue(only.closed, "the reactor has a descriptor of its own")

    def test_missing(self) -> None:
        self.failureResultOf(ActivatedEndpoint(self, "systemd:", passed()).listen("factory"), ConfigError)

    def test_sockets_of_several_workers(self) -> None:
        sockets = Activated(), Activated()
        error = self.failureResultOf(ActivatedEndpoint(self, "systemd:", passed(*sockets)).listen("factory")).value
        self.assertIn("set --workers 2", error.remedy)
        self.assertTrue(all(each.closed for each in sockets))

    def test_cannot_be_adopted(self) -> None:
        self.patch(self, "adoptStreamPort", lambda *_: succeed(None).addCallback(lambda _: 1 / 0))
        self.failureResultOf(ActivatedEndpoint(self, "systemd:", passed(Activated())).listen("f"), ZeroDivisionError)
