"""Tests for L{egress.shared.dial}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.shared.dial import dial, endpoint_of, explain
from egress.shared.redis_protocol import CommandRejected, RedisProtocol, SharedUnavailable
from egress.tls.origin_trust import OriginTrust
from tests.shared.connections import Connections


class DialTests(SynchronousTestCase):
    """A connection is used after its TLS handshake."""

    def setUp(self) -> None:
        self.connections = Connections()
        self.closed: list[str] = []

    def dial(self, *, tls: bool = False) -> Deferred[None]:
        reactor, trust = self.connections.reactor, OriginTrust()
        given: Any = trust
        self.protocol = RedisProtocol(reactor, timeout=1, max_pending=1, closed=self.closed.append)
        endpoint = endpoint_of(reactor, Authority("127.0.0.1", 7000), given, tls=tls)
        dialing: Deferred[None] = dial(reactor, endpoint, self.protocol, tls=tls, timeout=3)
        return dialing

    def test_connected(self) -> None:
        dialing = self.dial()
        self.assertEqual(self.connections.ports, [7000])
        transport = self.connections.accept()
        self.successResultOf(dialing)
        call = self.protocol.call("PING")
        self.connections.receive(transport, b"+PONG\r\n")
        self.assertEqual(self.successResultOf(call), b"PONG")
        transport.loseConnection()
        self.assertEqual(self.closed, ["the connection was lost"])

    def test_refused(self) -> None:
        dialing = self.dial()
        self.connections.refuse()
        self.assertIn("refused", str(self.failureResultOf(dialing).value))

    def test_in_time(self) -> None:
        """The connection, and the handshake."""
        for tls in (False, True):
            dialing = self.dial(tls=tls)
            transports = [self.connections.accept()] if tls else []
            self.connections.reactor.advance(3)
            failure = self.failureResultOf(dialing, SharedUnavailable)
            self.assertEqual(failure.getErrorMessage(), "no connection within 3 s")
            self.assertEqual([each.connected for each in transports], [False] * len(transports))
            self.failureResultOf(self.protocol.call("PING"), SharedUnavailable)

    def test_lost_in_the_handshake(self) -> None:
        dialing = self.dial(tls=True)
        self.connections.accept().loseConnection()
        self.failureResultOf(dialing)

    def test_cancelled(self) -> None:
        dialing = self.dial()
        dialing.cancel()
        self.failureResultOf(dialing, CancelledError)


class ExplainTests(SynchronousTestCase):
    """The reasons are for operators."""

    def test_reasons(self) -> None:
        for error, text in (
            (SharedUnavailable("why"), "why"),
            (CommandRejected("ERR no"), "it responded with an error: ERR no"),
            (CommandRejected("READONLY You can't"), "it is a replica, which does not write: READONLY You can't"),
            (CancelledError(), "the attempt was cancelled"),
            (ValueError(), "ValueError"),
        ):
            self.assertEqual(explain(error), text)
