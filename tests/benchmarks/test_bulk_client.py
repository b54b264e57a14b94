"""Tests for L{benchmarks.bulk_client}: a client that notices each wrong byte."""

from __future__ import annotations

from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.bulk_client import KIB, BulkClient, BulkError, Transfer


class BulkClientTests(SynchronousTestCase):
    """An origin that sends content back."""

    def setUp(self) -> None:
        self.client = BulkClient("origin.test")
        self.server = H2Connection(H2Configuration(client_side=False))
        self.server.initiate_connection()
        self.status = "200"
        self.change: Callable[[int, bytes], bytes] = lambda _, data: data
        self.waiting: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def turn(self) -> None:
        """Let both ends send what they have."""
        for event in self.server.receive_data(self.client.take_output()):
            if isinstance(event, RequestReceived):
                self.server.send_headers(event.stream_id, [(":status", self.status)])
                self.waiting[event.stream_id] = b""
            elif isinstance(event, DataReceived):
                self.waiting[event.stream_id] += self.change(event.stream_id, event.data)
                self.server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream_id)
        for stream, data in list(self.waiting.items()):
            size = min(self.server.local_flow_control_window(stream), len(data), 16 * KIB)
            rest = self.waiting[stream] = data[size:]
            ends = stream in self.ended and not rest
            self.server.send_data(stream, data[:size], end_stream=ends)
            if ends:
                del self.waiting[stream]
        sent = self.server.data_to_send()
        # In two reads, which cut a frame.
        self.client.receive(sent[: len(sent) // 2])
        self.client.receive(sent[len(sent) // 2 :])

    def turns(self, number: int = 60) -> None:
        for _ in range(number):
            self.turn()

    def test_transfers(self) -> None:
        transfers = [self.client.start("/echo", size, 64 * KIB) for size in (1, 300_000, 100_000)]
        self.turns()
        self.assertEqual([(one.done, one.received) for one in transfers], [(True, 1), (True, 300_000), (True, 100_000)])

    def test_a_slow_stream(self) -> None:
        slow, fast = self.client.start("/echo", 5000, None), self.client.start("/echo", 200_000, 64 * KIB)
        self.turns()
        self.assertEqual((slow.received, fast.done), (KIB, True))
        for size, received in ((KIB, 2 * KIB), (10_000, 5000)):
            self.client.credit(slow, size)
            self.turns(3)
            self.assertEqual(slow.received, received)
        self.assertTrue(slow.done)

    def failure_of(self, size: int = 50_000) -> str:
        """Return the error of a transfer."""
        transfer: Transfer = self.client.start("/echo", size, 64 * KIB)
        error = self.assertRaises(BulkError, self.turns)
        self.assertEqual(transfer.stream, 1)
        return str(error)

    def test_another_byte(self) -> None:
        self.change = lambda _, data: data.replace(data[:1], b"\0", 1) if data[:1] != b"\0" else b"\1" + data[1:]
        self.assertIn("other content", self.failure_of())

    def test_content_of_another_stream(self) -> None:
        """Contents of the same size."""
        pieces: dict[int, bytes] = {}

        def swap(stream: int, data: bytes) -> bytes:
            pieces[stream] = data
            return pieces.get(4 - stream, data)

        self.change = swap
        self.client.start("/echo", 10_000, 64 * KIB)
        self.client.start("/echo", 10_000, 64 * KIB)
        self.assertIn("other content", str(self.assertRaises(BulkError, self.turns)))

    def test_less_content(self) -> None:
        self.change = lambda _, data: data[1:]
        self.assertIn("received 49996", self.failure_of())

    def test_another_status(self) -> None:
        self.status = "502"
        self.assertIn("502", self.failure_of())

    def test_a_reset(self) -> None:
        self.client.start("/echo", 50_000, 64 * KIB)
        self.turn()
        self.server.reset_stream(1)
        self.waiting.clear()
        self.assertIn("stream 1 was reset", str(self.assertRaises(BulkError, self.turn)))

    def test_the_end_of_the_connection(self) -> None:
        self.turn()
        self.server.close_connection()
        error = self.assertRaises(BulkError, self.client.receive, self.server.data_to_send())
        self.assertIn("the connection ends", str(error))
