"""Tests for L{egress.net.factory}."""

from __future__ import annotations

from twisted.internet.address import UNIXAddress

from egress.config import Limits
from egress.net.factory import MOST_TURNED_AWAY
from egress.net.server import HttpSession
from egress.net.turned_away import TurnedAway
from tests.net.fakes import ProxyTestCase, Wire, request, response, session_of, status_of


class ProxyFactoryTests(ProxyTestCase):
    """Each client has a session of its own, and all share the parts."""

    def test_sessions(self) -> None:
        other = self.connect()
        self.assertIsNot(session_of(self.client), session_of(other))
        self.assertEqual(len(self.proxy.parts.sessions), 2)
        for client in (self.client, other):
            client.feed(request())
            self.origin.feed(response())
        self.assertEqual(len(self.dialer.origins), 1, "the pool is shared")


class LimitsTests(ProxyTestCase):
    """No more connections than the limits say."""

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
        self.assertEqual(status_of(other.take()), 200, "the limit is of one client")

    def test_in_all(self) -> None:
        for number in range(3):
            self.connect(f"198.51.100.{number + 8}")
        fifth = self.connect("198.51.100.20")
        self.assertEqual(status_of(fifth.take()), 503)
        self.assertEqual(self.outcomes(), ["overloaded"])
        self.assertEqual(self.proxy.parts.turned_away, 1)

    def test_room_again(self) -> None:
        second = self.connect()
        second.lose()
        third = self.connect()
        self.assertEqual((third.take(), self.proxy.parts.turned_away), (b"", 0))

    def test_those_turned_away_do_not_count(self) -> None:
        self.connect()
        for _ in range(5):
            self.connect()
        self.assertEqual(self.proxy.parts.sessions.clients, 2)

    def test_unix_sockets_have_no_address_to_count_by(self) -> None:
        address = UNIXAddress(None)
        for _ in range(3):
            protocol = self.proxy.factory.buildProtocol(address)  # type: ignore[arg-type]
            self.assertIsInstance(protocol, HttpSession)
            self.clients.append(Wire(self.clock).connect(protocol))
        self.assertIsInstance(self.proxy.factory.buildProtocol(address), TurnedAway)  # type: ignore[arg-type]

    def test_a_flood_is_cut_without_an_answer(self) -> None:
        self.connect()
        for _ in range(MOST_TURNED_AWAY):
            self.assertEqual(status_of(self.connect().take()), 429)
        beyond = self.connect()
        self.assertEqual((beyond.take(), beyond.aborted), (b"", True))
        self.clock.advance(0)
        # Those that were answered are gone soon, and others are told again.
        self.clock.advance(2)
        self.clock.advance(0)
        self.assertEqual(status_of(self.connect().take()), 429)


class Ipv6Tests(ProxyTestCase):
    """IPv6 clients count by their /64."""

    def setUp(self) -> None:
        self.build(limits=Limits(connections=9, connections_per_client=2))

    def test_per_client(self) -> None:
        for host in ("2001:db8::1", "2001:db8::2"):
            self.assertEqual(self.connect(host).take(), b"")
        self.assertEqual(status_of(self.connect("2001:db8::3").take()), 429)
        self.assertEqual(self.connect("2001:db8:0:1::1").take(), b"")
