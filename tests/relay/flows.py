"""The tests that every kind of flow must pass."""

from __future__ import annotations

from egress.relay.buffered import Flow, Flows
from tests.transport.sockets import SocketsTestCase, read_all

PATTERN = bytes(range(251))


class FlowCases(SocketsTestCase):
    """From the outside in: C{self.sender} -> source -> flow -> sink -> C{self.receiver}. Subclasses select the kind."""

    flows: Flows

    def make(self) -> Flows:
        """Create flows of a kind."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.flows = self.make()
        self.addCleanup(lambda: self.flows.close())
        self.sender, self.source = self.pair()
        self.sink, self.receiver = self.pair()
        self.flow: Flow = self.flows.between(self.source, self.sink)
        self.addCleanup(lambda: self.flow.close())


class Cases:
    """Prevents trial from running the cases themselves."""

    class AnyFlow(FlowCases):
        """A flow of any kind."""

        def test_passes_on(self) -> None:
            for data in (b"one", b"two and more"):
                self.sender.send(data)
                self.assertEqual(self.flow.fill(), len(data))
                self.assertEqual(self.flow.held, len(data))
                self.assertEqual(self.flow.drain(), len(data))
                self.assertEqual(self.flow.held, 0)
                self.assertEqual(self.receiver.recv(100), data)

        def test_no_data(self) -> None:
            self.assertRaises(BlockingIOError, self.flow.fill)
            self.assertEqual(self.flow.held, 0)

        def test_the_end(self) -> None:
            self.sender.close()
            self.assertEqual((self.flow.fill(), self.flow.held), (0, 0))

        def test_a_slow_receiver(self) -> None:
            sent, received = bytearray(), bytearray()
            while True:
                # Fill the flow until the sink is full; then read from the sink little by little.
                piece = PATTERN * 200
                sent += piece[: self.sender.send(piece)]
                self.flow.fill()
                self.flow.drain()
                if self.flow.held:
                    break
            held = self.flow.held
            self.assertEqual(self.flow.drain(), 0)
            self.assertEqual(self.flow.held, held)
            while self.flow.held:
                received += self.receiver.recv(5000)
                self.flow.drain()
            received += read_all(self.receiver)
            self.assertEqual(received, sent)
            self.sender.send(b"more")
            self.assertEqual((self.flow.fill(), self.flow.drain()), (4, 4))
            self.assertEqual(self.receiver.recv(100), b"more")

        def test_held_data_is_not_overwritten(self) -> None:
            other_sender, other_source = self.pair()
            other_sink, other_receiver = self.pair()
            other = self.flows.between(other_source, other_sink)
            filler = b"." * 1000
            while True:
                try:
                    self.sink.send(filler)
                except BlockingIOError:
                    break
            self.sender.send(b"mine")
            self.flow.fill()
            self.assertEqual(self.flow.drain(), 0)
            other_sender.send(b"theirs")
            other.fill()
            other.drain()
            self.assertEqual(other_receiver.recv(100), b"theirs")
            read_all(self.receiver)
            self.assertEqual(self.flow.drain(), 4)
            self.assertEqual(self.receiver.recv(100), b"mine")

        def test_a_broken_sink(self) -> None:
            self.receiver.close()
            self.sender.send(b"lost")
            self.assertEqual(self.flow.fill(), 4)
            self.assertRaises(OSError, self.flow.drain)
            self.assertEqual(self.flow.held, 4)
            self.flow.close()
            self.assertEqual(self.flow.held, 0)

        def test_a_flow_can_outlive_its_shared_resources(self) -> None:
            self.flows.close()
            self.sender.send(b"still")
            self.assertEqual((self.flow.fill(), self.flow.drain()), (5, 5))
            self.assertEqual(self.receiver.recv(100), b"still")
