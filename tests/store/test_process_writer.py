"""Tests for L{egress.store.process_writer}."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor, IReadWriteDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.config.model import ProxyConfig
from egress.store.batches import BatchReport, SpoolReport
from egress.store.process_writer import ProcessWriter, WriterLost
from egress.store.writer_ipc import WriterSpec, batch_frame, report_line, spec_frame
from tests.store.lines import FakeSocket

SPEC = WriterSpec.of(ProxyConfig(audit_store="sqlite:/a.db"), 0)
DONE = report_line(BatchReport())


class FakeProcess:
    """A process in memory.

    @ivar how: how it has ended.
    """

    def __init__(self) -> None:
        self.line: Any = FakeSocket()
        self.line.ends = False
        self.errors, self.output = os.pipe()
        os.set_blocking(self.errors, False)
        self.pid = 42
        self.how: str | None = None
        self.killed = False
        self.waited: list[float] = []

    def ended(self) -> str | None:
        return self.how

    def kill(self) -> None:
        self.killed = True
        self.line.close()

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)

    def say(self, text: bytes) -> None:
        """Write to standard error."""
        os.write(self.output, text)


class LocalWriter:
    """The writer of this process."""

    def __init__(self) -> None:
        self.written: list[Sequence[bytes]] = []
        self.closed: list[Sequence[bytes]] = []

    def spool(self) -> SpoolReport | None:
        return None

    def prepare(self) -> None:
        raise NotImplementedError

    def extend(self, records: Sequence[bytes]) -> bool:
        raise NotImplementedError

    def write(self, records: Sequence[bytes]) -> Deferred[BatchReport]:
        self.written.append(records)
        return succeed(BatchReport(more=True))

    def close(self, records: Sequence[bytes]) -> BatchReport:
        self.closed.append(records)
        return BatchReport(checkpoint="local")


class WriterTestCase(SynchronousTestCase):
    """Has a writer with processes in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.processes: list[FakeProcess] = []
        self.local = LocalWriter()
        self.writer = ProcessWriter(self.reactor, SPEC, self.local, self.start)

    def start(self) -> FakeProcess:
        process = FakeProcess()
        self.processes.append(process)
        self.addCleanup(os.close, process.output)
        return process

    @property
    def process(self) -> FakeProcess:
        return self.processes[-1]

    @property
    def socket(self) -> FakeSocket:
        line: FakeSocket = self.process.line
        return line

    def descriptor(self, kind: Any) -> Any:
        """Return the last object in the reactor with an interface."""
        return [each for each in self.reactor.getReaders() if kind.providedBy(each)][-1]

    def receive(self, *pieces: bytes | Exception) -> None:
        """Let the proxy receive pieces from the process."""
        self.socket.incoming += pieces
        line = self.descriptor(IReadWriteDescriptor)
        for _ in pieces:
            line.doRead()

    def written(self, records: Sequence[bytes] = (b"a",)) -> BatchReport:
        """Have a batch written."""
        done = self.writer.write(records)
        self.receive(DONE)
        return self.successResultOf(done)

    def end(self, how: str | None) -> None:
        """Let the process end."""
        self.process.how = how
        self.socket.ends = True
        self.receive(b"")


class WriteTests(WriterTestCase):
    """Batches are sent to the process."""

    def test_interfaces(self) -> None:
        self.written()
        verifyObject(IReadWriteDescriptor, self.descriptor(IReadWriteDescriptor))
        errors = [each for each in self.reactor.getReaders() if not IReadWriteDescriptor.providedBy(each)]
        verifyObject(IReadDescriptor, errors[0])
        self.assertEqual({each.logPrefix() for each in self.reactor.getReaders()}, {"audit store"})
        self.assertEqual({each.fileno() for each in self.reactor.getReaders()}, {1_000_000, self.process.errors})

    def test_batches(self) -> None:
        """The first batch starts the process."""
        self.assertEqual((self.processes, self.writer.spool()), ([], None))
        self.assertEqual(self.written([b"a", b"b"]), BatchReport())
        self.written([b"c"])
        self.assertEqual(len(self.processes), 1)
        self.assertEqual(self.socket.sent, spec_frame(SPEC) + batch_frame([b"a", b"b"]) + batch_frame([b"c"]))
        self.assertEqual(self.reactor.getWriters(), [])

    def test_report_in_pieces(self) -> None:
        done = self.writer.write([b"a"])
        self.receive(DONE[:5], BlockingIOError())
        self.assertNoResult(done)
        self.receive(DONE[5:])
        self.successResultOf(done)

    def test_slow_process(self) -> None:
        """The rest of a batch is sent when the socket accepts it."""
        self.written()
        before = len(self.socket.sent)
        frame = batch_frame([b"x" * 1000])
        self.socket.capacity = 100
        self.writer.write([b"x" * 1000])
        (writer,) = self.reactor.getWriters()
        self.socket.capacity = BlockingIOError()
        writer.doWrite()
        self.assertEqual(len(self.socket.sent) - before, 100)
        self.socket.capacity = 1 << 30
        writer.doWrite()
        self.assertEqual((self.socket.sent[before:], self.reactor.getWriters()), (frame, []))

    def test_output(self) -> None:
        """The log has the standard error of the process."""
        self.written()
        self.process.say(b"warning\nmore")
        errors = next(each for each in self.reactor.getReaders() if not IReadWriteDescriptor.providedBy(each))
        with capturedLogs() as events:
            errors.doRead()
            errors.doRead()
        self.assertEqual([event["text"] for event in events], ["warning"])

    def test_closed_output(self) -> None:
        self.written()
        errors = next(each for each in self.reactor.getReaders() if not IReadWriteDescriptor.providedBy(each))
        other = os.open(os.devnull, os.O_WRONLY)
        os.dup2(other, self.process.output)
        os.close(other)
        errors.doRead()
        errors.connectionLost(Failure(OSError()))
        self.assertNotIn(errors, self.reactor.getReaders())
        self.assertRaises(OSError, os.fstat, self.process.errors)


class StartTests(WriterTestCase):
    """Records leave the memory of the proxy before the process works."""

    def test_prepare(self) -> None:
        """The process starts before the first batch, once."""
        self.writer.prepare()
        self.writer.prepare()
        self.assertEqual((len(self.processes), self.socket.sent), (1, spec_frame(SPEC)))
        self.written()
        self.writer.prepare()
        self.assertEqual(len(self.processes), 1)

    def test_prepare_after_a_failure(self) -> None:
        """A process that never works is not started too often."""
        self.writer.prepare()
        with capturedLogs():
            self.end("exited with status 1")
        self.writer.prepare()
        self.assertEqual(len(self.processes), 1)
        self.failureResultOf(self.writer.write([b"a"]), WriterLost)
        self.reactor.advance(1)
        self.writer.prepare()
        self.assertEqual(len(self.processes), 2)

    def test_extended_batch(self) -> None:
        """The process receives further records at once; the batch ends with the result of all of them."""
        self.assertFalse(self.writer.extend([b"x"]), "no batch is being written")
        done = self.writer.write([b"a"])
        self.assertTrue(self.writer.extend([b"b", b"c"]))
        self.assertTrue(self.writer.extend([b"d"]))
        further = (batch_frame([b"b", b"c"], is_further=True), batch_frame([b"d"], is_further=True))
        self.assertEqual(self.socket.sent, spec_frame(SPEC) + batch_frame([b"a"]) + b"".join(further))
        self.receive(report_line(BatchReport(errors=("too large",))) + DONE[:2])
        self.assertNoResult(done)
        self.receive(DONE[2:], report_line(BatchReport(fault="disk full", again=True)))
        expected = BatchReport(fault="disk full", again=True, written=3, errors=("too large",))
        self.assertEqual(self.successResultOf(done), expected)
        self.assertEqual(self.written([b"e"]), BatchReport())

    def test_only_at_the_start(self) -> None:
        """A process that works needs no further records: it is waited for, so that a batch is written once."""
        self.written()
        self.writer.write([b"a"])
        self.assertFalse(self.writer.extend([b"b"]))

    def test_full_socket(self) -> None:
        """The buffer of the socket limits what waits for the process."""
        self.writer.prepare()
        self.socket.capacity = 10
        self.writer.write([b"a"])
        self.assertFalse(self.writer.extend([b"b"]))
        self.socket.capacity = 1 << 30
        (writer,) = self.reactor.getWriters()
        writer.doWrite()
        self.assertTrue(self.writer.extend([b"b"]))
        further = batch_frame([b"b"], is_further=True)
        self.assertEqual(self.socket.sent, spec_frame(SPEC) + batch_frame([b"a"]) + further)

    def test_end_of_the_process(self) -> None:
        """All records of the batch are written again."""
        done = self.writer.write([b"a"])
        self.writer.extend([b"b"])
        self.receive(DONE)
        self.end(None)
        self.assertFalse(self.writer.extend([b"c"]))
        self.process.how = "exited with status 1"
        self.reactor.advance(0.05)
        self.failureResultOf(done, WriterLost)
        self.reactor.advance(1)
        self.assertEqual(self.written([b"a", b"b"]), BatchReport())

    def test_close(self) -> None:
        """A proxy that stops before the process works writes all records itself."""
        self.writer.write([b"a"])
        self.writer.extend([b"b"])
        self.receive(DONE)
        self.assertEqual(self.writer.close([b"a", b"b", b"c"]), BatchReport(checkpoint="local"))
        self.assertEqual((self.process.killed, self.local.closed), (True, [[b"a", b"b", b"c"]]))


class EndTests(WriterTestCase):
    """The process ends while the proxy runs."""

    def test_during_a_batch(self) -> None:
        """The records are written again, by another process."""
        self.written()
        done = self.writer.write([b"b"])
        self.process.say(b"Traceback\nMemoryError\n")
        with capturedLogs() as events:
            self.end(None)
            self.reactor.advance(0.05)
            self.assertNoResult(done)
            self.process.how = "exited with status 1"
            self.reactor.advance(0.05)
        error = self.failureResultOf(done, WriterLost)
        self.assertEqual(error.getErrorMessage(), "the writer process exited with status 1 (MemoryError)")
        self.assertEqual([event["text"] for event in events], ["Traceback", "MemoryError"])
        self.assertEqual((self.reactor.getReaders(), self.reactor.getDelayedCalls()), ([], []))
        self.written([b"b"])
        self.assertEqual(len(self.processes), 2)

    def test_between_batches(self) -> None:
        self.written()
        with capturedLogs() as events:
            self.end("was killed by SIGKILL")
        self.assertEqual([event["fault"] for event in events], ["the writer process was killed by SIGKILL"])
        self.written([b"b"])

    def test_batch_for_a_process_that_ends(self) -> None:
        self.written()
        self.end(None)
        done = self.writer.write([b"b"])
        self.process.how = "exited with status 0"
        self.reactor.advance(0.05)
        self.failureResultOf(done, WriterLost)

    def test_broken_socket(self) -> None:
        """An error of the socket is the end of the process."""
        self.written()
        self.socket.capacity = BrokenPipeError()
        done = self.writer.write([b"b"])
        self.process.how = "exited with status 1"
        self.receive(ConnectionResetError())
        self.failureResultOf(done, WriterLost)

    def test_reactor_finds_the_end(self) -> None:
        self.written()
        self.process.how = "exited with status 1"
        line = self.descriptor(IReadWriteDescriptor)
        with capturedLogs():
            line.connectionLost(Failure(OSError()))
            line.connectionLost(Failure(OSError()))
        self.assertTrue(self.socket.closed)

    def test_does_not_end(self) -> None:
        """A process that has closed its socket, but does not end, is killed."""
        self.written()
        with capturedLogs() as events:
            self.end(None)
            self.reactor.pump([0.05] * 102)
        self.assertTrue(self.process.killed)
        self.assertEqual([event["fault"] for event in events], ["the writer process did not end, and was killed"])

    def test_backoff(self) -> None:
        """A process that never works is started less and less often."""
        starts: list[float] = []
        for _ in range(260):
            done = self.writer.write([b"a"])
            if len(self.processes) > len(starts):
                starts.append(self.reactor.seconds())
                self.end("exited with status 1")
            self.failureResultOf(done, WriterLost)
            self.reactor.advance(0.5)
        self.assertEqual(starts, [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0, 121.0])
        self.reactor.advance(30)
        self.written()

    def test_not_started(self) -> None:
        """A thread of the proxy writes."""

        def start() -> FakeProcess:
            raise FileNotFoundError(2, "No such file or directory")

        self.patch(self.writer, "_start", start)
        with capturedLogs() as events:
            self.assertTrue(self.successResultOf(self.writer.write([b"a"])).more)
            self.writer.write([b"b"])
        self.assertEqual([event["reason"] for event in events], ["No such file or directory"])
        self.assertEqual(self.local.written, [[b"a"], [b"b"]])
        self.writer.close([b"c"])
        self.assertEqual(self.local.closed, [[b"c"]])


class CloseTests(WriterTestCase):
    """The last records are written when the proxy stops."""

    def responding(self, *lines: bytes) -> None:
        """Let the process respond to the messages that the proxy sends while it waits."""
        responses = list(lines)
        self.socket.answer = lambda line: line.incoming.append(responses.pop(0))

    def test_records(self) -> None:
        self.written()
        self.responding(report_line(BatchReport(checkpoint="2:ab", errors=("too large",))))
        report = self.writer.close([b"b"])
        self.assertEqual(report, BatchReport(checkpoint="2:ab", errors=("too large",)))
        self.assertTrue(self.socket.sent.endswith(batch_frame([b"b"])))
        self.assertEqual((self.process.killed, self.process.waited, self.socket.closed), (False, [5.0], True))
        self.assertEqual((self.local.closed, self.reactor.getReaders()), ([()], []))
        self.assertTrue(all(0 < seconds <= 10 for seconds in self.socket.timeouts))

    def test_batch_in_progress(self) -> None:
        """Its result is waited for, and its records are not sent twice."""
        self.written()
        self.socket.capacity = 10
        self.writer.write([b"b", b"c"])
        self.socket.capacity = 1 << 30
        self.responding(report_line(BatchReport(errors=("too large",))), DONE[:3])
        self.socket.incoming = []
        frames = batch_frame([b"b", b"c"]) + batch_frame([b"d"])
        self.socket.answer = self.answer_twice
        report = self.writer.close([b"b", b"c", b"d"])
        self.assertEqual(report.errors, ("too large", "also too large"))
        self.assertTrue(self.socket.sent.endswith(frames))

    def answer_twice(self, line: FakeSocket) -> None:
        """Respond to the rest of a batch, and to the next batch, the second time in pieces."""
        if line.sent.endswith(batch_frame([b"d"])):
            response = report_line(BatchReport(errors=("also too large",)))
            line.incoming += [response[:3], response[3:]]
        else:
            line.incoming.append(report_line(BatchReport(errors=("too large",))))

    def test_failed_batch_in_progress(self) -> None:
        """Its records are sent again."""
        self.written()
        self.writer.write([b"b"])
        self.responding(report_line(BatchReport(fault="disk full", again=True)), DONE)
        self.writer.close([b"b", b"c"])
        self.assertTrue(self.socket.sent.endswith(batch_frame([b"b", b"c"])))

    def test_no_process(self) -> None:
        self.assertEqual(self.writer.close([b"a"]).checkpoint, "local")
        self.assertEqual(self.local.closed, [[b"a"]])

    def test_process_that_starts(self) -> None:
        """A proxy that runs only for a moment does not wait for it."""
        self.writer.write([b"a"])
        self.assertEqual(self.writer.close([b"a", b"b"]).checkpoint, "local")
        self.assertEqual((self.process.killed, self.local.closed), (True, [[b"a", b"b"]]))

    def test_process_that_ends(self) -> None:
        self.written()
        self.end(None)
        self.assertEqual(self.writer.close([b"a"]).checkpoint, "local")
        self.assertTrue(self.process.killed)
        self.reactor.advance(1)

    def test_failures(self) -> None:
        """A process that does not respond is killed, and this one writes the records."""
        for response in (TimeoutError("timed out"), b"", b"no report\n"):
            with self.subTest(response):
                self.setUp()
                self.written()
                self.socket.ends = True
                self.socket.incoming = [response]
                with capturedLogs() as events:
                    self.assertEqual(self.writer.close([b"a"]).checkpoint, "local")
                self.assertEqual((self.process.killed, self.local.closed, len(events)), (True, [[b"a"]], 1))
