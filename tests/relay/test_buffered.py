"""Tests for L{egress.relay.buffered}."""

from __future__ import annotations

import tracemalloc

from egress.relay.buffered import BUFFER, SMALL_READ, BufferedFlows, Flows
from tests.relay.flows import PATTERN, Cases
from tests.transport.sockets import read_all


class BufferedFlowTests(Cases.AnyFlow):
    """A flow through a buffer."""

    def make(self) -> Flows:
        return BufferedFlows()

    def test_larger_reads_for_a_fast_receiver(self) -> None:
        sizes = []

        class RecordingSource:
            """A source that always has as much data as requested."""

            def recv_into(self, buffer: bytearray, size: int) -> int:
                sizes.append(size)
                return size

        class Sink:
            takes = BUFFER

            def send(self, data: memoryview) -> int:
                return min(self.takes, len(data))

        sink = Sink()
        flow = self.flows.between(RecordingSource(), sink)  # type: ignore[arg-type]
        for _ in range(6):
            flow.fill()
            flow.drain()
        self.assertEqual(sizes, [SMALL_READ, 2 * SMALL_READ, 4 * SMALL_READ, 8 * SMALL_READ, BUFFER, BUFFER])
        sink.takes = SMALL_READ
        flow.fill()
        while flow.held:
            flow.drain()
        flow.fill()
        self.assertEqual(sizes[-1], SMALL_READ, "the rest may have to be stored")

    def test_the_buffer_is_allocated_on_first_use(self) -> None:
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        flows = BufferedFlows()
        flow = flows.between(self.source, self.sink)
        self.assertLess(tracemalloc.get_traced_memory()[0], BUFFER)
        self.sender.send(b"x")
        flow.fill()
        self.assertGreaterEqual(tracemalloc.get_traced_memory()[0], BUFFER)

    def test_the_rest_is_a_copy(self) -> None:
        while not self.flow.held:
            self.sender.send(PATTERN)
            self.flow.fill()
            self.flow.drain()
        assert isinstance(self.flows, BufferedFlows)
        self.flows.buffer[:] = bytes(BUFFER)
        read_all(self.receiver)
        self.flow.drain()
        self.assertTrue(read_all(self.receiver).strip(b"\0"))
