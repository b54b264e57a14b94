"""Tests for L{egress.shared.redis_protocol}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from egress.shared import redis_protocol as module
from egress.shared.redis_protocol import CommandRejected, RedisProtocol, SharedUnavailable


class RedisProtocolTests(SynchronousTestCase):
    """Commands and their replies."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.closed: list[str] = []
        self.protocol = self.connect()

    def connect(self) -> RedisProtocol:
        protocol = RedisProtocol(self.clock, timeout=1.0, max_pending=3, closed=self.closed.append)
        self.transport = StringTransportWithDisconnection()
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return protocol

    def call(self, *arguments: Any) -> Deferred[Any]:
        call = self.protocol.call(*arguments)
        self.clock.advance(0)
        return call

    def reply(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def assert_unavailable(self, call: Deferred[Any], reason: str) -> None:
        self.assertIn(reason, str(self.failureResultOf(call, SharedUnavailable).value))

    def test_command(self) -> None:
        call = self.call("SET", b"n\r\n\xff", "v", 7)
        self.assertEqual(self.transport.value(), b"*4\r\n$3\r\nSET\r\n$4\r\nn\r\n\xff\r\n$1\r\nv\r\n$1\r\n7\r\n")
        self.reply(b"+OK\r\n")
        self.assertEqual(self.successResultOf(call), b"OK")

    def test_replies_in_order(self) -> None:
        """In pieces of any size."""
        for size in (1, 2, 7, 100):
            calls = [self.call("X"), self.call("Y"), self.call("Z")]
            data = b"$5\r\na\r\nbc\r\n*3\r\n:1\r\n$-1\r\n$0\r\n\r\n-ERR unknown\r\n"
            for start in range(0, len(data), size):
                self.reply(data[start : start + size])
            self.assertEqual(self.successResultOf(calls[0]), b"a\r\nbc")
            self.assertEqual(self.successResultOf(calls[1]), [1, None, b""])
            self.assertEqual(str(self.failureResultOf(calls[2], CommandRejected).value), "ERR unknown")
            self.assertEqual(len(self.protocol), 0)

    def test_one_write(self) -> None:
        """The commands of one turn of the reactor are written together."""
        written: list[bytes] = []
        self.transport.write = written.append  # type: ignore[method-assign]
        calls = [self.protocol.call("X"), self.protocol.call("Y")]
        self.assertEqual(written, [])
        self.clock.advance(0)
        self.assertEqual(len(written), 1)
        self.reply(b":1\r\n:2\r\n")
        self.assertEqual([self.successResultOf(call) for call in calls], [1, 2])
        # A connection that ends in the same turn.
        lost = self.protocol.call("Z")
        self.protocol.abort("why")
        self.assert_unavailable(lost, "why")
        self.clock.advance(0)
        self.assertEqual(len(written), 1)

    def test_no_connection(self) -> None:
        protocol = RedisProtocol(self.clock, timeout=1.0, max_pending=3, closed=self.closed.append)
        self.assert_unavailable(protocol.call("PING"), "there is no connection")

    def test_cancelled(self) -> None:
        """The reply of a cancelled command is ignored, and the next ones find their commands."""
        first, second = self.call("X"), self.call("Y")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.reply(b":1\r\n:2\r\n")
        self.assertEqual(self.successResultOf(second), 2)
        third = self.call("X")
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.reply(b"-ERR\r\n")

    def test_too_many(self) -> None:
        calls = [self.call("X") for _ in range(3)]
        self.assert_unavailable(self.call("X"), "3 commands wait")
        self.reply(b":1\r\n")
        self.assertEqual(self.successResultOf(calls[0]), 1)
        self.assertNoResult(self.call("X"))

    def test_refusals(self) -> None:
        """After some errors, the connection is not used any more."""
        rejected = self.call("X")
        self.reply(b"-ERR no\r\n")
        self.failureResultOf(rejected, CommandRejected)
        self.assertFalse(self.protocol.was_refused)
        rejected, other = self.call("X"), self.call("Y")
        self.reply(b"-MOVED 1 a.test:1" + b"x" * 300 + b"\r\n")
        self.failureResultOf(rejected, CommandRejected)
        self.assert_unavailable(other, "it is a node of a cluster, which is not supported: MOVED 1 a.test:1")
        self.assertTrue(self.protocol.was_refused)
        self.assertLess(max(map(len, self.closed)), 300)

    def test_timeout(self) -> None:
        """The oldest command counts, and the connection is closed, because its reply may still come."""
        first = self.call("X")
        self.clock.advance(0.6)
        second = self.call("Y")
        self.reply(b":1\r\n")
        self.successResultOf(first)
        self.clock.advance(0.4)
        self.assertNoResult(second)
        self.clock.advance(0.5)
        self.assertNoResult(second)
        self.clock.advance(0.1)
        self.assert_unavailable(second, "no reply within 1 s")
        self.assertFalse(self.transport.connected)
        self.assertEqual(self.closed, ["no reply within 1 s"])
        self.assert_unavailable(self.call("X"), "no reply within 1 s")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_idle(self) -> None:
        self.reply_to_one()
        self.clock.advance(10)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.reply_to_one()
        self.assertTrue(self.transport.connected)

    def reply_to_one(self) -> None:
        call = self.call("X")
        self.reply(b":1\r\n")
        self.assertEqual(self.successResultOf(call), 1)

    def test_lost(self) -> None:
        call = self.call("X")
        self.transport.loseConnection()
        self.assert_unavailable(call, "the connection was lost")
        self.assertEqual(self.closed, ["the connection was lost"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_invalid(self) -> None:
        """Another protocol, a reply without a command, and a reply that is too large."""
        large = b"$2000000\r\n" + b"x" * (module.MAX_REPLY + 10)
        for asks, data, reason in (
            (True, b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the protocol"),
            (False, b":1\r\n", "a reply without a command"),
            (True, b":1\r\n:2\r\n:3\r\n", "a reply without a command"),
            (True, large, "too large"),
        ):
            with self.subTest(reason):
                self.closed.clear()
                self.protocol = self.connect()
                if asks:
                    self.call("X").addErrback(lambda _: None)
                self.reply(data)
                self.assertFalse(self.transport.connected)
                self.assertEqual(len(self.closed), 1)
                self.assertIn(reason, self.closed[0])
                self.reply(b":1\r\n")

    def test_call_in_a_callback(self) -> None:
        """A command that is sent while a connection ends fails, too."""
        again: list[Deferred[Any]] = []
        self.call("X").addErrback(lambda _: again.append(self.call("Y")))
        self.protocol.abort("why")
        self.assert_unavailable(again[0], "why")
