"""Tests for L{egress.proxy.stream_transport}."""

from __future__ import annotations

from typing import Any

from h2.errors import ErrorCodes
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.http.events import END
from egress.http2.engine import HIGH_WATER
from egress.proxy.stream_transport import StreamTransport
from egress.testing.transport import MemoryTransport
from egress.transport.fair_turns import RoundRobin
from tests.proxy.fakes import broken


class FakeEngine:
    """The engine of one stream, whose window a test controls.

    @ivar window: the size of the data that it sends immediately.
    """

    def __init__(self) -> None:
        self.window = 1 << 20
        self.waiting = b""
        self.written = b""
        self.ends = self.ended = False
        self.taken = 0
        self.forgotten = 0
        self.code: int | None = None

    def send_data(self, _: int, data: bytes) -> None:
        self.waiting += data

    def send_end(self, _: int) -> None:
        self.ends = True

    def pending(self, _: int) -> int:
        return len(self.waiting)

    def ends_later(self, _: int) -> bool:
        return self.ends and not self.ended

    def take(self, _: int, size: int) -> None:
        self.taken += size

    def forget(self, _: int) -> None:
        self.forgotten += 1

    def reset(self, _: int, code: int) -> None:
        self.code = code


class StreamTransportTests(SynchronousTestCase):
    """The transport of one stream; this test is its connection and its receiver."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.engine = FakeEngine()
        self.events: list[Any] = []
        self.answers: list[Any] = []
        self.has_turn = True
        self.transport: Any = StreamTransport(
            self,
            self,  # type: ignore[arg-type]
            self.engine,  # type: ignore[arg-type]
            1,
            below=MemoryTransport(self.clock),
            clock=self.clock,
            turns=RoundRobin(self.clock),
            client="client",
        )

    def write_soon(self) -> None:
        """See L{egress.proxy.interfaces.IHttp2Connection}."""
        engine = self.engine
        data, engine.waiting = engine.waiting[: engine.window], engine.waiting[engine.window :]
        engine.window -= len(data)
        engine.written += data
        ends = engine.ends and not engine.ended and not engine.waiting
        engine.ended = engine.ended or ends
        if data or ends:
            self.transport.sent()

    def use_turn(self) -> bool:
        """See L{egress.proxy.interfaces.IHttp2Connection}."""
        return self.has_turn

    def open(self, size: int = 1 << 20) -> None:
        """Let the client take more data."""
        self.engine.window += size
        self.write_soon()

    def data_received(self, data: bytes) -> None:
        self.events.append(data)
        if self.answers:
            self.answers.pop(0)()

    def read_closed(self) -> None:
        self.events.append("read closed")

    def write_closed(self) -> None:
        self.events.append("write closed")

    def lost(self, reason: Failure) -> None:
        self.events.append(type(reason.value))

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")

    def turn(self) -> list[Any]:
        """Let the next turn of the reactor pass; return the events since the last call."""
        self.clock.advance(0)
        events, self.events = self.events, []
        return events

    def test_interfaces(self) -> None:
        verifyObject(ITCPTransport, self.transport)

    def test_facts(self) -> None:
        self.assertEqual(self.transport.getPeer(), IPv4Address("TCP", "198.51.100.7", 40000))
        self.assertEqual(self.transport.getHost(), MemoryTransport(self.clock).getHost())
        self.assertTrue(self.transport.getTcpNoDelay())
        self.assertFalse(self.transport.getTcpKeepAlive())
        self.transport.setTcpNoDelay(False)
        self.transport.setTcpKeepAlive(True)
        self.assertFalse(self.transport.disconnecting)

    def test_reading(self) -> None:
        self.transport.receive(b"one")
        self.transport.receive(END)
        self.assertEqual((self.turn(), self.engine.taken), ([b"one", "read closed"], 3))

    def test_a_later_turn(self) -> None:
        """The data of a connection that has much work waits, and is joined."""
        self.has_turn = False
        self.transport.receive(b"one")
        self.transport.receive(b"two")
        self.transport.receive(END)
        self.assertEqual(self.events, [])
        self.assertEqual(self.turn(), [b"onetwo", "read closed"])

    def test_a_pause(self) -> None:
        """The client gets no credit meanwhile. The data arrives in a later turn, and the end after it."""
        self.transport.pauseProducing()
        self.transport.receive(b"one")
        self.transport.receive(b"two")
        self.transport.receive(END)
        self.assertEqual((self.turn(), self.engine.taken), ([], 0))
        self.transport.resumeProducing()
        self.assertEqual((self.events, self.engine.taken), ([], 0))
        self.assertEqual((self.turn(), self.engine.taken), ([b"onetwo", "read closed"], 6))
        self.transport.resumeProducing()
        self.assertEqual(self.turn(), [])

    def test_the_order(self) -> None:
        """Data that arrives before the next turn waits behind earlier data."""
        self.transport.pauseProducing()
        self.transport.receive(b"one")
        self.transport.resumeProducing()
        self.transport.receive(b"two")
        self.assertEqual(self.turn(), [b"onetwo"])

    def test_a_pause_of_the_end(self) -> None:
        self.answers = [self.transport.pauseProducing]
        self.transport.receive(b"one")
        self.transport.receive(END)
        self.assertEqual(self.turn(), [b"one"])
        self.transport.resumeProducing()
        self.assertEqual(self.turn(), ["read closed"])

    def test_data_within_data(self) -> None:
        """A receiver that causes further data gets it later."""
        self.answers = [lambda: self.transport.receive(b"two")]
        self.transport.receive(b"one")
        self.assertEqual(self.turn(), [b"one", b"two"])

    def test_a_failing_receiver(self) -> None:
        """Only its stream is reset."""
        self.answers = [broken]
        self.transport.receive(b"one")
        self.assertEqual(self.turn(), [b"one", ConnectionAborted])
        self.assertEqual(self.engine.code, ErrorCodes.CONNECT_ERROR)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_writing(self) -> None:
        self.transport.write(b"one")
        self.transport.writeSequence([b"two", b"three"])
        self.assertEqual(self.engine.written, b"onetwothree")

    def test_a_slow_client(self) -> None:
        """The producer pauses, and continues when the client has taken most of the data."""
        self.transport.registerProducer(self, True)
        self.engine.window = 10
        self.transport.write(bytes(HIGH_WATER))
        self.assertEqual(self.turn(), [])
        self.transport.write(bytes(20))
        self.transport.write(bytes(20))
        self.assertEqual(self.turn(), ["pause"])
        self.open(1000)
        self.assertEqual(self.turn(), [])
        self.open()
        self.assertEqual(self.turn(), ["resume"])
        self.transport.unregisterProducer()
        self.engine.window = 0
        self.transport.write(bytes(2 * HIGH_WATER))
        self.assertEqual(self.turn(), [])

    def test_the_end_of_writing(self) -> None:
        """The notification follows in a later turn, after all data."""
        self.engine.window = 0
        self.transport.write(b"one")
        self.transport.loseWriteConnection()
        self.transport.loseWriteConnection()
        self.transport.write(b"ignored")
        self.assertEqual(self.turn(), [])
        self.open()
        self.assertEqual((self.events, self.engine.written), ([], b"one"))
        self.assertEqual(self.turn(), ["write closed"])
        self.transport.receive(b"answer")
        self.assertEqual(self.turn(), [b"answer"])
        self.transport.loseConnection()
        self.assertEqual(self.events, [])
        self.assertEqual(self.turn(), [ConnectionDone])

    def test_a_close(self) -> None:
        """Nothing more is read."""
        self.engine.window = 0
        self.transport.write(b"one")
        self.transport.stopProducing()
        self.transport.loseConnection()
        self.transport.receive(b"ignored")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.turn(), [])
        self.open()
        self.assertEqual((self.turn(), self.engine.ended), ([ConnectionDone], True))
        self.transport.loseConnection()
        self.transport.abortConnection()
        self.transport.write(b"ignored")
        self.transport.loseWriteConnection()
        self.transport.receive(END)
        self.transport.sent()
        self.assertEqual((self.turn(), self.engine.code), ([], None))

    def test_a_close_with_waiting_data(self) -> None:
        """The end of the client's data is not reported after it."""
        self.transport.pauseProducing()
        self.transport.receive(b"one")
        self.transport.receive(END)
        self.transport.resumeProducing()
        self.transport.loseConnection()
        self.assertEqual(self.turn(), [ConnectionDone])

    def test_an_abort(self) -> None:
        self.transport.registerProducer(self, True)
        self.transport.abortConnection()
        self.transport.abortConnection()
        self.assertEqual((self.events, self.engine.code), ([], ErrorCodes.CONNECT_ERROR))
        self.assertEqual(self.turn(), ["stop", ConnectionAborted])

    def test_an_abort_after_the_end(self) -> None:
        """The client has all data, so this is no error."""
        self.transport.loseWriteConnection()
        self.assertEqual(self.turn(), ["write closed"])
        self.transport.abortConnection()
        self.assertEqual(self.turn(), [ConnectionAborted])
        self.assertEqual(self.engine.code, ErrorCodes.NO_ERROR)

    def test_a_loss(self) -> None:
        """No notification follows it, and a new producer stops."""
        self.transport.loseConnection()
        self.assertEqual(self.engine.forgotten, 0)
        self.transport.lose(ConnectionLost())
        self.transport.lose(ConnectionLost())
        self.assertEqual(self.engine.forgotten, 1)
        self.assertEqual(self.turn(), [ConnectionLost])
        self.transport.registerProducer(self, True)
        self.assertEqual(self.turn(), ["stop"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_loss_while_data_waits_for_its_turn(self) -> None:
        self.transport.pauseProducing()
        self.transport.receive(b"one")
        self.transport.resumeProducing()
        self.transport.lose(ConnectionLost())
        self.assertEqual(self.turn(), [ConnectionLost])
