"""Tests for L{egress.shared.redis_protocol}."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.trial.unittest import SynchronousTestCase

from egress.shared import redis_protocol as module
from egress.shared.redis_protocol import CommandRejected, RedisProtocol, SharedUnavailable
from egress.shared.script import Script

SCRIPT = Script("return 1")
BY_DIGEST = b"*4\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n0\r\n$1\r\nx\r\n" % SCRIPT.digest.encode()
BY_TEXT = b"*4\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n0\r\n$1\r\nx\r\n"
UNKNOWN = b"-NOSCRIPT No matching script.\r\n"
FORBIDDEN = b"-NOPERM this user has no permissions to run the 'evalsha' command\r\n"


class RedisProtocolTestCase(SynchronousTestCase):
    """Base: a connection."""

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


class RedisProtocolTests(RedisProtocolTestCase):
    """Commands and their replies."""

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
        rejected, other = self.call("X"), self.call("Y")
        self.reply(b"-MOVED 1 a.test:1" + b"x" * 300 + b"\r\n")
        self.failureResultOf(rejected, CommandRejected)
        self.assert_unavailable(other, "it is a node of a cluster, which is not supported: MOVED 1 a.test:1")
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


class ScriptTests(RedisProtocolTestCase):
    """Scripts are run by their digests, and by their text if this is necessary."""

    def run_script(self) -> Deferred[Any]:
        return self.protocol.run(SCRIPT, [], "x")

    def sent(self) -> bytes:
        """Return what was sent since the last call."""
        self.clock.advance(0)
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def test_known(self) -> None:
        run = self.run_script()
        self.assertEqual(self.sent(), BY_DIGEST)
        self.reply(b":1\r\n")
        self.assertEqual((self.successResultOf(run), self.sent()), (1, b""))

    def test_unknown(self) -> None:
        """Each run sends its own text, and the next ones only digests."""
        runs = [self.run_script(), self.run_script()]
        other = self.protocol.call("X")
        self.sent()
        self.reply(UNKNOWN + UNKNOWN + b":7\r\n")
        self.assertEqual(self.successResultOf(other), 7)
        self.assertEqual((self.sent(), len(self.protocol)), (2 * BY_TEXT, 2))
        self.reply(b":1\r\n:2\r\n")
        self.assertEqual([self.successResultOf(run) for run in runs], [1, 2])
        self.run_script()
        self.assertEqual(self.sent(), BY_DIGEST)

    def test_never_twice(self) -> None:
        """A script that has begun is not run again, and the engine cannot cause more than two commands."""
        failed = self.run_script()
        self.sent()
        self.reply(b"-NOPERM ACL failure in script: User u has no permissions to run the 'set' command\r\n")
        self.failureResultOf(failed, CommandRejected)
        unknown, forbidden, ran = self.run_script(), self.run_script(), self.run_script()
        self.sent()
        self.reply(UNKNOWN + FORBIDDEN + b"-WRONGTYPE Operation\r\n")
        self.assertIn("WRONGTYPE", str(self.failureResultOf(ran, CommandRejected).value))
        self.assertEqual(self.sent(), 2 * BY_TEXT)
        self.reply(UNKNOWN + FORBIDDEN)
        self.assertIn("NOSCRIPT", str(self.failureResultOf(unknown, CommandRejected).value))
        self.assertIn("NOPERM", str(self.failureResultOf(forbidden, CommandRejected).value))
        self.assertEqual((self.sent(), len(self.protocol)), (b"", 0))

    def test_forbidden(self) -> None:
        """A user who may not send digests sends the texts, until the connection ends."""
        first = self.run_script()
        self.sent()
        self.reply(FORBIDDEN)
        second = self.run_script()
        self.assertEqual(self.sent(), 2 * BY_TEXT)
        self.reply(b":1\r\n:2\r\n")
        self.assertEqual([self.successResultOf(run) for run in (first, second)], [1, 2])
        third = self.run_script()
        self.assertEqual(self.sent(), BY_TEXT)
        self.reply(b"-NOPERM this user has no permissions to run the 'eval' command\r\n")
        self.failureResultOf(third, CommandRejected)
        self.protocol = self.connect()
        self.run_script()
        self.assertEqual(self.sent(), BY_DIGEST)

    def test_lost(self) -> None:
        """The connection ends before the text was written, or before its reply."""
        for is_written in (False, True):
            self.protocol = self.connect()
            run = self.run_script()
            self.sent()
            self.reply(UNKNOWN)
            self.assertNoResult(run)
            if is_written:
                self.assertEqual(self.sent(), BY_TEXT)
            self.transport.loseConnection()
            self.assert_unavailable(run, "the connection was lost")
            self.clock.advance(0)
            self.assertEqual((len(self.protocol), self.clock.getDelayedCalls()), (0, []))
            self.assert_unavailable(self.run_script(), "the connection was lost")

    def test_refused(self) -> None:
        """An engine that does not write is not asked again."""
        run = self.run_script()
        self.sent()
        self.reply(b"-READONLY You can't write against a read only replica.\r\n")
        self.failureResultOf(run, CommandRejected)
        self.assertEqual(self.sent(), b"")

    def test_timeout(self) -> None:
        """Both commands together have the time of one."""
        run = self.run_script()
        self.clock.advance(0.6)
        later = self.protocol.call("X")
        self.sent()
        self.reply(UNKNOWN)
        self.clock.advance(0.39)
        self.assertNoResult(run)
        self.clock.advance(0.02)
        self.assert_unavailable(run, "no reply within 1 s")
        self.assert_unavailable(later, "no reply within 1 s")

    def test_too_many(self) -> None:
        """The text takes the place of the digest."""
        runs = [self.run_script() for _ in range(3)]
        self.assert_unavailable(self.run_script(), "3 commands wait")
        self.sent()
        self.reply(UNKNOWN)
        self.assert_unavailable(self.run_script(), "3 commands wait")
        self.reply(b":1\r\n:2\r\n:3\r\n")
        self.assertEqual([self.successResultOf(run) for run in runs], [3, 1, 2])

    def test_cancelled(self) -> None:
        """The reply of a cancelled run is ignored."""
        run, other = self.run_script(), self.protocol.call("X")
        run.cancel()
        self.failureResultOf(run, CancelledError)
        self.reply(UNKNOWN + b":7\r\n:1\r\n")
        self.assertEqual((self.successResultOf(other), len(self.protocol)), (7, 0))
