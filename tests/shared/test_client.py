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

from egress.model.shared_location import SharedLocation
from egress.shared import client as module
from egress.shared.client import SharedClient
from egress.shared.redis_protocol import SharedUnavailable


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
        self.assertIn(b"PING", self.receive(transport, b"+PONG\r\n"))
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
        self.receive(transport, b"+PONG\r\n")
        self.successResultOf(started)
        self.assertEqual((client.is_ready, self.note(client)), (True, None))
        call = client.call("GET", "k")
        self.assertIn(b"GET", self.receive(transport, b"$1\r\nv\r\n"))
        self.assertEqual(self.successResultOf(call), b"v")
        self.assertEqual(self.texts, ["shared state: connected to unix:/run/r"])

    def test_greeting(self) -> None:
        """Credentials, and the database."""
        for location, password, expected in (
            (
                "unix:ci@/run/r?db=2",
                "pw",
                [b"$4\r\nAUTH\r\n$2\r\nci\r\n$2\r\npw\r\n", b"$6\r\nSELECT\r\n$1\r\n2", b"PING"],
            ),
            ("unix:/run/r", "pw", [b"*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n", b"PING"]),
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
        self.assertEqual(delays, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
        self.assertEqual(len(self.texts), 1)
        self.assertIn("unix:/run/r cannot be used: ", self.texts[0])
        self.assertIn("decides without shared state", self.note(client) or "")
        self.reactor.advance(5)
        self.receive(self.accept(), b"+PONG\r\n")
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
        self.receive(self.accept(), b"+PONG\r\n")
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

    def test_endpoints(self) -> None:
        """A host, with and without TLS."""
        client = self.make("redis://127.0.0.1:7000")
        client.start()
        self.assertEqual(self.reactor.tcpClients[0][:2], ("127.0.0.1", 7000))
