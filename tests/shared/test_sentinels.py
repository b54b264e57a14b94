"""Tests for L{egress.shared.sentinels}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.shared_location import SharedLocation
from egress.shared.redis_protocol import SharedUnavailable
from egress.shared.sentinels import CONNECT_TIMEOUT, Sentinels
from tests.shared.connections import LOCATION, Connections, named

MASTER = Authority("127.0.0.1", 7000)


class SentinelsTests(SynchronousTestCase):
    """The first sentinel that responds is asked first."""

    def setUp(self) -> None:
        self.connections = Connections()
        self.advance = self.connections.reactor.advance

    def make(self, location: SharedLocation = LOCATION, password: str | None = None) -> Sentinels:
        trust: Any = None
        return Sentinels(self.connections.reactor, location, password=password, timeout=0.5, trust=trust)

    def test_first(self) -> None:
        """Its connection is used again, also by concurrent calls."""
        sentinels = self.make()
        finding = [sentinels.find(), sentinels.find()]
        transport = self.connections.accept()
        sent = self.connections.receive(transport, named(7000))
        self.assertEqual(sent.count(b"get-master-addr-by-name\r\n$8\r\nmymaster\r\n"), 1)
        self.assertEqual([self.successResultOf(each) for each in finding], [MASTER, MASTER])
        again = sentinels.find()
        self.connections.receive(transport, named(7001))
        self.assertEqual(self.successResultOf(again), Authority("127.0.0.1", 7001))
        self.assertEqual(self.connections.ports, [1])

    def test_next_ones(self) -> None:
        """A sentinel that cannot be reached, one that does not respond, and one that does."""
        sentinels = self.make()
        finding = sentinels.find()
        self.connections.refuse()
        transport = self.connections.accept()
        self.advance(0)
        self.advance(0.5)
        self.assertFalse(transport.connected)
        transport = self.connections.accept()
        self.connections.receive(transport, named(7000))
        self.assertEqual(self.successResultOf(finding), MASTER)
        self.assertEqual(self.connections.ports, [1, 2, 3])
        # Its connection is lost, and it is asked first.
        transport.loseConnection()
        finding = sentinels.find()
        self.assertEqual(self.connections.ports, [1, 2, 3, 3])
        self.advance(CONNECT_TIMEOUT)
        self.assertEqual(self.connections.ports, [1, 2, 3, 3, 2])
        self.connections.receive(self.connections.accept(), named(7000))
        self.assertEqual(self.successResultOf(finding), MASTER)

    def test_lost_while_asked(self) -> None:
        sentinels = self.make()
        finding = sentinels.find()
        self.connections.accept().loseConnection()
        self.connections.receive(self.connections.accept(), named(7000))
        self.assertEqual(self.successResultOf(finding), MASTER)

    def test_no_master(self) -> None:
        sentinels = self.make()
        finding = sentinels.find()
        transports = []
        for reply in (b"*-1\r\n", b"-NOAUTH Authentication required.\r\n"):
            transports.append(self.connections.accept())
            self.connections.receive(transports[-1], reply)
        self.connections.refuse()
        text = self.failureResultOf(finding, SharedUnavailable).getErrorMessage()
        self.assertIn("no sentinel names a master: 127.0.0.1:1: it does not know the master mymaster; ", text)
        self.assertIn("127.0.0.1:2: it responded with an error: NOAUTH", text)
        self.assertIn("127.0.0.1:3: ", text)
        self.assertEqual([each.connected for each in transports], [False, False])

    def test_addresses(self) -> None:
        """Names and addresses."""
        for host, expected in (("::1", "::1"), ("redis-0.a.test", "redis-0.a.test"), ("192.0.2.1", "192.0.2.1")):
            sentinels = self.make()
            finding = sentinels.find()
            self.connections.receive(self.connections.accept(), named(7000, host))
            self.assertEqual(self.successResultOf(finding), Authority(expected, 7000))

    def test_invalid_addresses(self) -> None:
        sentinels = self.make()
        for reply in (
            *(named(7000, host) for host in ("", "a b", "u@a.test", "x" * 300, "a/b", "a:b")),
            *(named(port) for port in (0, 65536)),
            *(b"+OK\r\n", b":1\r\n", b"*0\r\n", b"*2\r\n:1\r\n:2\r\n"),
            *(b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\n\xff\r\n$1\r\n1\r\n", b"*3\r\n:1\r\n:2\r\n:3\r\n"),
        ):
            with self.subTest(reply):
                finding = sentinels.find()
                for _ in range(3):
                    self.connections.receive(self.connections.accept(), reply)
                text = self.failureResultOf(finding, SharedUnavailable).getErrorMessage()
                self.assertEqual(text.count("it responded with an address that is not valid"), 3)

    def test_password(self) -> None:
        for query, expected in (
            ("", b"*2\r\n$4\r\nAUTH\r\n"),
            ("?sentinel_username=ci", b"AUTH\r\n$2\r\nci\r\n$2\r\npw"),
        ):
            sentinels = self.make(SharedLocation.parse(f"redis+sentinel://127.0.0.1:1/m{query}"), "pw")
            finding = sentinels.find()
            transport = self.connections.accept()
            sent = self.connections.receive(transport, b"+OK\r\n")
            self.assertIn(expected, sent)
            self.assertNotIn(b"SENTINEL", sent)
            self.connections.receive(transport, named(7000))
            self.assertEqual(self.successResultOf(finding), MASTER)

    def test_stop(self) -> None:
        sentinels = self.make()
        finding = sentinels.find()
        sentinels.stop()
        self.failureResultOf(finding, CancelledError)
        finding = sentinels.find()
        transport = self.connections.accept()
        self.connections.receive(transport, named(7000))
        sentinels.stop()
        self.assertFalse(transport.connected)
        self.assertEqual(self.connections.reactor.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """A caller that waits no longer does not disturb the others."""
        sentinels = self.make()
        first, second = sentinels.find(), sentinels.find()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.connections.receive(self.connections.accept(), named(7000))
        self.assertEqual(self.successResultOf(second), MASTER)
