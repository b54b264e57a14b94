"""Tests for L{egress.upstream.lookups}."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from egress.upstream.lookups import ReactorLookups, SystemLookups
from tests.threads import immediately
from tests.transport.reactors import DialingReactor
from tests.upstream.names import ips


class SystemLookUpsTests(SynchronousTestCase):
    """Lookups by the system, in a thread."""

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.found: Any = []
        self.patch(socket, "getaddrinfo", self.getaddrinfo)
        self.look_up = SystemLookups(immediately)

    def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        self.asked.append((host, port, options))
        if isinstance(self.found, Exception):
            raise self.found
        return [(family, socket.SOCK_STREAM, 6, "", (text, 0)) for family, text in self.found]

    def test_addresses(self) -> None:
        self.found = [
            (socket.AF_INET, "192.0.2.1"),
            (socket.AF_INET6, "fe80::1%eth0"),
            (socket.AF_INET, "192.0.2.1"),
            (-1, "nonsense"),
        ]
        self.assertEqual(self.successResultOf(self.look_up("a.test")), ips("192.0.2.1", "fe80::1"))
        self.assertEqual(self.asked, [(b"a.test", None, {"type": socket.SOCK_STREAM})])

    def test_name_that_python_cannot_encode(self) -> None:
        self.found = [(socket.AF_INET, "192.0.2.1")]
        for host in ("api-.example", "-a.example", "a_b.example", "a" * 64 + ".example"):
            self.assertEqual(self.successResultOf(self.look_up(host)), ips("192.0.2.1"), host)

    def test_no_address(self) -> None:
        for error in (socket.gaierror(-2, "unknown"), OSError(), UnicodeError()):
            self.found = error
            self.assertEqual(self.successResultOf(self.look_up("a.test")), ())

    def test_unexpected_error(self) -> None:
        self.found = ValueError("no")
        self.failureResultOf(self.look_up("a.test"), ValueError)


class ReactorLookUpsTests(SynchronousTestCase):
    """Lookups by the resolver of a reactor."""

    def setUp(self) -> None:
        self.reactor = DialingReactor()
        self.look_up = ReactorLookups(self.reactor)  # type: ignore[arg-type]

    def test_addresses(self) -> None:
        self.reactor.names["a.test"] = ["192.0.2.1", "192.0.2.1", "2001:db8::1%eth0"]
        self.assertEqual(self.successResultOf(self.look_up("a.test")), ips("192.0.2.1", "2001:db8::1"))

    def test_other_kinds_of_addresses_are_ignored(self) -> None:
        found = self.look_up("a.test")
        (receiver,) = self.reactor.pending
        receiver.addressResolved(UNIXAddress(b"/x"))
        self.assertNoResult(found)
        self.reactor.resolve(receiver, ["nonsense"])
        self.assertEqual(self.successResultOf(found), ())
