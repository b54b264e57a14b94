"""Tests for L{egress.proxy.factory}."""

from __future__ import annotations

import struct

from twisted.internet.address import UNIXAddress

from egress.config.model import Limits
from egress.proxy.client_session import HttpSession
from egress.proxy.factory import MAX_REJECTED
from egress.proxy.overload import RejectedConnection
from tests.proxy.fakes import ProxyTestCase, Wire, request, response, session_of, status_of


class Socket:
    """A UNIX socket whose peer the system identifies, or not."""

    def __init__(self, credentials: bytes = b"") -> None:
        self._credentials = credentials

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """See C{socket.socket.getsockopt}."""
        if not self._credentials:
            raise OSError
        return self._credentials


class ProxyFactoryTests(ProxyTestCase):
    """Each client has its own session; all sessions share the context."""

    def test_sessions(self) -> None:
        other = self.connect()
        self.assertIsNot(session_of(self.client), session_of(other))
        self.assertEqual(len(self.proxy.parts.sessions), 2)
        for client in (self.client, other):
            client.feed(request())
            self.origin.feed(response())
        self.assertEqual(len(self.dialer.origins), 1, "the pool is shared")


class LimitsTests(ProxyTestCase):
    """The connection limits."""

    def setUp(self) -> None:
        # One client is connected already.
        self.build(limits=Limits(connections=4, connections_per_client=2))

    def test_per_client(self) -> None:
        self.connect()
        third = self.connect()
        self.assertEqual(status_of(third.take()), 429)
        self.assertEqual(self.outcomes(), ["too-many-connections"])
        other = self.connect("198.51.100.8")
        other.feed(request())
        self.origin.feed(response())
        self.assertEqual(status_of(other.take()), 200, "the limit applies to one client")

    def test_in_total(self) -> None:
        for number in range(3):
            self.connect(f"198.51.100.{number + 8}")
        fifth = self.connect("198.51.100.20")
        self.assertEqual(status_of(fifth.take()), 503)
        self.assertEqual(self.outcomes(), ["overloaded"])
        self.assertEqual(self.proxy.parts.sessions.rejected, 1)

    def test_accepts_again_after_a_close(self) -> None:
        second = self.connect()
        second.lose()
        third = self.connect()
        self.assertEqual((third.take(), self.proxy.parts.sessions.rejected), (b"", 0))

    def test_rejected_connections_do_not_count(self) -> None:
        self.connect()
        for _ in range(5):
            self.connect()
        self.assertEqual(self.proxy.parts.sessions.clients, 2)

    def connect_unix(self, *credentials: bytes) -> Wire:
        """Connect over a UNIX socket whose peer the system identifies, or not."""
        wire = Wire(self.clock, UNIXAddress(None))  # type: ignore[arg-type]
        wire.socket = Socket(*credentials)
        wire.connect(self.proxy.factory.buildProtocol(UNIXAddress(None)))
        self.clients.append(wire)
        return wire

    def test_users_of_a_unix_socket_are_counted_separately(self) -> None:
        for _ in range(2):
            self.assertIsInstance(self.connect_unix(struct.pack("iII", 1, 1000, 0)).protocol, HttpSession)
        self.assertEqual(status_of(self.connect_unix(struct.pack("iII", 2, 1000, 0)).take()), 429)
        self.assertIn("unix-uid-1000", self.proxy.records[0].reason)
        self.assertIsInstance(self.connect_unix(struct.pack("iII", 1, 1001, 0)).protocol, HttpSession)

    def test_unknown_clients_of_a_unix_socket_are_limited_only_in_total(self) -> None:
        for _ in range(3):
            self.assertIsInstance(self.connect_unix().protocol, HttpSession)
        self.assertIsInstance(self.connect_unix().protocol, RejectedConnection)

    def test_a_flood_is_aborted_without_a_response(self) -> None:
        self.connect()
        for _ in range(MAX_REJECTED):
            self.assertEqual(status_of(self.connect().take()), 429)
        beyond = self.connect()
        self.assertEqual((beyond.take(), beyond.aborted), (b"", True))
        self.clock.advance(0)
        # Later ones get a response again, after the time of the first ones is over.
        self.clock.advance(2)
        self.clock.advance(0)
        self.assertEqual(status_of(self.connect().take()), 429)

    def test_rejected_connections_take_few_descriptors(self) -> None:
        """The oldest rejected connection is closed, not aborted, for the next one, and keeps its response."""
        self.build(limits=Limits(connections=24, connections_per_client=1))
        self.connect()
        first, second = self.connect(), self.connect()
        self.assertEqual((first.disconnecting, second.disconnecting), (False, False))
        third = self.connect()
        self.assertTrue(first.disconnecting)
        self.assertFalse(first.aborted)
        self.assertEqual([status_of(wire.take()) for wire in (first, second, third)], [429, 429, 429])
        second.lose()
        self.connect()
        self.assertFalse(third.disconnecting, "the second connection is no longer counted")


class Ipv6Tests(ProxyTestCase):
    """IPv6 clients count by their /64."""

    def setUp(self) -> None:
        self.build(limits=Limits(connections=9, connections_per_client=2))

    def test_per_client(self) -> None:
        for host in ("2001:db8::1", "2001:db8::2"):
            self.assertEqual(self.connect(host).take(), b"")
        self.assertEqual(status_of(self.connect("2001:db8::3").take()), 429)
        self.assertEqual(self.connect("2001:db8:0:1::1").take(), b"")
