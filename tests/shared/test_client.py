"""Tests for L{egress.shared.client}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider

from egress.model.authority import Authority
from egress.model.shared_location import SharedLocation
from egress.shared import client as module
from egress.shared.client import SharedClient
from egress.shared.master_watch import CONFIRMED_FOR, INTERVAL
from egress.shared.redis_protocol import CommandRejected, SharedUnavailable
from egress.shared.script import Script
from tests.shared.connections import LOCATION, Connections, Transport, named


class SharedClientTests(SynchronousTestCase):
    """One connection, opened again when it was lost."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.texts: list[str] = []

        @provider(ILogObserver)
        def observe(event: Any) -> None:
            if event.get("log_namespace") == module.__name__:
                self.texts.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def make(self, location: str = "unix:/run/r", password: str | None = None) -> SharedClient:
        return SharedClient(
            self.reactor,
            SharedLocation.parse(location),
            password=password,
            timeout=1.0,
            trust=None,  # type: ignore[arg-type]
            jitter=lambda: 1.0,
        )

    def accept(self) -> StringTransportWithDisconnection:
        """Accept the last connection."""
        factory = self.reactor.unixClients[-1][1]
        protocol = factory.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport

    def refuse(self) -> None:
        factory = self.reactor.unixClients[-1][1]
        factory.clientConnectionFailed(None, Failure(ConnectError(string="Connection was refused")))

    def receive(self, transport: StringTransportWithDisconnection, data: bytes) -> bytes:
        """Reply, and return what was sent before."""
        self.reactor.advance(0)
        sent: bytes = transport.value()
        transport.clear()
        transport.protocol.dataReceived(data)
        return sent

    def connected(self, client: SharedClient) -> StringTransportWithDisconnection:
        client.start()
        transport = self.accept()
        self.assertIn(b"DEL", self.receive(transport, b":0\r\n"))
        return transport

    def note(self, client: SharedClient) -> str | None:
        return self.successResultOf(client.check())

    def test_connect(self) -> None:
        client = self.make()
        self.assertFalse(client.is_ready)
        self.assertIn("it is not connected yet", str(self.failureResultOf(client.call("X"), SharedUnavailable).value))
        started = client.start()
        transport = self.accept()
        self.assertNoResult(started)
        self.assertFalse(client.is_ready)
        self.receive(transport, b":0\r\n")
        self.successResultOf(started)
        self.assertEqual((client.is_ready, self.note(client)), (True, None))
        call = client.call("GET", "k")
        self.assertIn(b"GET", self.receive(transport, b"$1\r\nv\r\n"))
        self.assertEqual(self.successResultOf(call), b"v")
        self.assertEqual(self.texts, ["shared state: connected to unix:/run/r"])

    def test_script(self) -> None:
        """It runs on the present connection; a new one tries the digest again."""
        client, script = self.make(), Script("return 1")
        self.assertIn("not connected yet", str(self.failureResultOf(client.run(script, []), SharedUnavailable).value))
        transport = self.connected(client)
        for _ in range(2):
            run = client.run(script, [b"name"], 7)
            sent = self.receive(transport, b"-NOPERM User u has no permissions to run the 'evalsha' command\r\n")
            self.assertIn(b"EVALSHA\r\n$40\r\n%b\r\n$1\r\n1\r\n$4\r\nname" % script.digest.encode(), sent)
            self.assertIn(b"EVAL\r\n$8\r\nreturn 1\r\n", self.receive(transport, b":5\r\n"))
            self.assertEqual(self.successResultOf(run), 5)
            transport.loseConnection()
            self.reactor.advance(1)
            transport = self.accept()
            self.receive(transport, b"+PONG\r\n")

    def test_greeting(self) -> None:
        """Credentials, and the database."""
        for location, password, expected in (
            (
                "unix:ci@/run/r?db=2",
                "pw",
                [b"$4\r\nAUTH\r\n$2\r\nci\r\n$2\r\npw\r\n", b"$6\r\nSELECT\r\n$1\r\n2", b"DEL"],
            ),
            ("unix:/run/r", "pw", [b"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n", b"DEL"]),
        ):
            client = self.make(location, password)
            client.start()
            transport = self.accept()
            for text in expected:
                self.assertFalse(client.is_ready)
                self.assertIn(text, self.receive(transport, b"+OK\r\n"))
            self.assertTrue(client.is_ready)

    def test_wrong_password(self) -> None:
        client = self.make(password="s3cret")
        client.start()
        transport = self.accept()
        self.receive(transport, b"-WRONGPASS invalid username-password pair\r\n")
        self.assertFalse(transport.connected)
        self.assertIn("WRONGPASS", self.note(client) or "")
        self.assertNotIn("s3cret", "".join(self.texts))

    def test_refused(self) -> None:
        """The delay doubles up to its maximum, and one line is logged until there is a connection again."""
        client = self.make()
        self.successResultOf(self.refused(client))
        delays = []
        for _ in range(9):
            (retry,) = self.reactor.getDelayedCalls()
            delays.append(round(retry.getTime() - self.reactor.seconds(), 3))
            self.reactor.advance(delays[-1])
            self.refuse()
        self.assertEqual(delays, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0])
        self.assertEqual(len(self.texts), 1)
        self.assertIn("unix:/run/r cannot be used: ", self.texts[0])
        self.assertIn("decides without shared state", self.note(client) or "")
        self.reactor.advance(5)
        self.receive(self.accept(), b":0\r\n")
        self.assertEqual((self.note(client), len(self.texts)), (None, 2))

    def refused(self, client: SharedClient) -> Deferred[None]:
        started = client.start()
        self.refuse()
        return started

    def test_lost(self) -> None:
        client = self.make()
        lost: list[bool] = []
        client.on_lost = lambda: lost.append(client.is_ready)
        transport = self.connected(client)
        call = client.call("X")
        transport.loseConnection()
        self.assertEqual(lost, [False])
        self.failureResultOf(call, SharedUnavailable)
        self.assertFalse(client.is_ready)
        self.reactor.advance(0.1)
        self.receive(self.accept(), b":0\r\n")
        self.assertTrue(client.is_ready)
        self.assertEqual([text.partition(": ")[2][:9] for text in self.texts], ["connected", "unix:/run", "connected"])

    def test_timeout(self) -> None:
        """An engine that does not respond is left, and tried again."""
        client = self.make()
        self.connected(client)
        call = client.call("X")
        self.reactor.advance(1)
        self.assertIn("no reply within 1 s", str(self.failureResultOf(call, SharedUnavailable).value))
        self.assertFalse(client.is_ready)
        self.reactor.advance(0.1)
        # It accepts the connection, and does not respond.
        transport = self.accept()
        self.reactor.advance(1)
        self.assertFalse(transport.connected)
        self.assertIn("no reply", client.fault or "")

    def test_no_connection_in_time(self) -> None:
        client = self.make()
        started = client.start()
        self.reactor.advance(module.CONNECT_TIMEOUT)
        self.successResultOf(started)
        self.assertIsNotNone(client.fault)

    def test_stop(self) -> None:
        for state in ("new", "connecting", "waiting", "connected"):
            with self.subTest(state):
                self.reactor = MemoryReactorClock()
                client = self.make()
                if state == "connected":
                    self.connected(client)
                elif state == "waiting":
                    self.refused(client)
                elif state == "connecting":
                    client.start()
                client.stop()
                self.assertFalse(client.is_ready)
                self.failureResultOf(client.call("X"), SharedUnavailable)
                self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refused_commands(self) -> None:
        """An engine that does not write is left, and is not used again until it writes."""
        client = self.make()
        transport = self.connected(client)
        call = client.call("XADD")
        self.receive(transport, b"-READONLY You can't write against a read only replica.\r\n")
        self.failureResultOf(call, CommandRejected)
        self.assertEqual((transport.connected, client.is_ready), (False, False))
        for reply, reason in (
            (b"-READONLY no\r\n", "it is a replica, which does not write: READONLY no"),
            (b"-CROSSSLOT no\r\n", "it is a node of a cluster, which is not supported: CROSSSLOT no"),
        ):
            self.reactor.advance(5)
            transport = self.accept()
            self.receive(transport, reply)
            self.assertEqual((transport.connected, client.fault), (False, reason))
        self.assertEqual(len(self.texts), 2)
        self.reactor.advance(5)
        transport = self.accept()
        self.receive(transport, b":0\r\n")
        self.assertEqual((client.is_ready, len(self.texts)), (True, 3))

    def test_endpoints(self) -> None:
        """A host, with and without TLS."""
        client = self.make("redis://127.0.0.1:7000")
        client.start()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 7000))


class SentinelTests(SynchronousTestCase):
    """The connection is to the master that sentinels name."""

    def setUp(self) -> None:
        self.connections = Connections()
        self.advance = self.connections.reactor.advance
        trust: Any = None
        self.client = SharedClient(
            self.connections.reactor, LOCATION, password="pw", timeout=1.0, trust=trust, jitter=lambda: 1.0
        )
        self.lost = 0
        self.client.on_lost = self.count
        self.started = self.client.start()

    def count(self) -> None:
        self.lost += 1

    def answer(self, port: int) -> Transport:
        """Accept the connection to the first sentinel, and name a master."""
        transport = self.connections.accept()
        self.connections.receive(transport, named(port))
        self.assertEqual(self.connections.ports[-1], port)
        return transport

    def greet(self, role: bytes = b"*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n", *, wrote: bytes = b":0\r\n") -> Any:
        """Accept the connection to the master, and respond to its first commands."""
        transport = self.connections.accept()
        sent = self.connections.receive(transport, b"+OK\r\n", role, wrote)
        self.assertIn(b"AUTH\r\n$2\r\npw", sent)
        return transport

    def test_connected(self) -> None:
        self.assertEqual((self.client.master, self.client.master_changes), (None, 0))
        self.answer(7000)
        self.assertIsNone(self.client.master)
        self.greet()
        self.successResultOf(self.started)
        self.assertEqual(self.client.master, Authority("127.0.0.1", 7000))
        self.assertIsNone(self.successResultOf(self.client.check()))

    def test_not_a_master(self) -> None:
        """A sentinel can be wrong, and a master can refuse to write."""
        slave = b"*3\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n"
        sentinel = self.answer(7000)
        for role, wrote, reason in (
            (slave, b"", "the master 127.0.0.1:7000: it is not a master"),
            (b"+master\r\n", b"", "it is not a master"),
            (b"*0\r\n", b"", "it is not a master"),
            (b"-NOPERM no\r\n", b"", "it responded with an error: NOPERM no"),
            (b"*1\r\n$6\r\nmaster\r\n", b"-NOREPLICAS no\r\n", "it has too few replicas, and does not write"),
        ):
            transport = self.greet(role, wrote=wrote)
            self.assertFalse(transport.connected)
            self.assertIn(reason, self.client.fault or "")
            self.assertFalse(self.client.is_ready)
            # The questions to the sentinel continue while the next attempt waits.
            before = len(self.connections.ports)
            while len(self.connections.ports) == before:
                self.advance(0.1)
                if sentinel.value():
                    self.connections.receive(sentinel, named(7000))

    def test_failover(self) -> None:
        sentinel = self.answer(7000)
        transport = self.greet()
        self.advance(INTERVAL)
        self.connections.receive(sentinel, named(7000))
        call = self.client.call("X")
        self.advance(INTERVAL)
        self.connections.receive(sentinel, named(7001))
        self.assertFalse(transport.connected)
        self.failureResultOf(call, SharedUnavailable)
        self.assertEqual((self.lost, self.client.is_ready), (1, False))
        self.assertIn("the sentinels name the master 127.0.0.1:7001", self.client.fault or "")
        self.advance(module.FIRST_DELAY)
        self.connections.receive(sentinel, named(7001))
        self.greet()
        self.assertEqual((self.client.master, self.client.master_changes), (Authority("127.0.0.1", 7001), 1))

    def test_failover_while_it_connects(self) -> None:
        """The attempt to connect to the old master ends, also if its host does not respond."""
        sentinel = self.answer(7000)
        self.advance(INTERVAL)
        self.connections.receive(sentinel, named(7001))
        self.assertIn("the attempt was cancelled", self.client.fault or "")
        self.advance(module.FIRST_DELAY)
        self.connections.receive(sentinel, named(7001))
        self.greet()
        self.assertTrue(self.client.is_ready)

    def test_failover_while_it_waits(self) -> None:
        """The next attempt is soon, although many have failed."""
        sentinel = self.answer(7000)
        self.connections.refuse()
        for _ in range(200):
            self.advance(0.1)
            if sentinel.value():
                before = len(self.connections.ports)
                self.connections.receive(sentinel, named(7000))
                if len(self.connections.ports) > before:
                    self.connections.refuse()
        # About a second apart.
        self.assertLess(self.connections.ports.count(7000), 27)
        while not sentinel.value():
            self.advance(0.1)
        self.connections.receive(sentinel, named(7001))
        self.advance(module.FIRST_DELAY)
        self.connections.receive(sentinel, named(7001))
        self.greet()
        self.assertTrue(self.client.is_ready)

    def test_no_sentinel(self) -> None:
        """The master is not used long without a sentinel."""
        sentinel = self.answer(7000)
        transport = self.greet()
        sentinel.loseConnection()
        seconds = 0.0
        while self.client.is_ready:
            self.assertLess(seconds, CONFIRMED_FOR + 4)
            self.advance(0.25)
            seconds += 0.25
        self.assertGreaterEqual(seconds, CONFIRMED_FOR)
        self.assertFalse(transport.connected)
        self.assertIn("no sentinel has confirmed the master for 10 s", self.client.fault or "")
        self.advance(20)
        self.assertIn("no sentinel names a master", self.client.fault or "")

    def test_stop(self) -> None:
        for state in ("asking", "connecting", "connected"):
            with self.subTest(state):
                self.setUp()
                if state != "asking":
                    self.answer(7000)
                if state == "connected":
                    self.greet()
                self.client.stop()
                self.successResultOf(self.started)
                self.assertEqual(self.connections.reactor.getDelayedCalls(), [])
                self.assertFalse(self.client.is_ready)
