"""Writes the batches of an audit store in a process of its own.

A proxy that stores each request in a thread takes a fifth more CPU time for each of them: the thread takes turns with
the reactor for the interpreter.  Here, the proxy only serializes the records.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReadDescriptor, IReadWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from egress.runtime.lines import Lines
from egress.store.batches import BatchReport, SpoolReport, merged
from egress.store.interfaces import StoreError
from egress.store.writer import BatchWriter
from egress.store.writer_ipc import WriterSpec, batch_frame, parse_report, spec_frame
from egress.store.writer_process import ChildProcess, WriterProcess

_PIECE: Final = 256 * 1024
# The time in which a process ends that has closed its socket, or whose socket the proxy has closed.
_END_WITHIN: Final = 5.0
_LOOK_EVERY: Final = 0.05
# The time in which the process must write the last records, before the proxy itself writes them.
_FINISH_WITHIN: Final = 10.0
# The delay of another process after one that wrote nothing: at first, and at most.
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 30.0

_log = Logger()


class WriterLost(StoreError):
    """The process has ended; the records of its last batch must be written again."""


@implementer(IReadWriteDescriptor)
class _Line:
    """The proxy's end of the socket, in a reactor.

    @param took: is called with each line of the process.
    @param lost: is called when the process has closed its end.
    """

    def __init__(
        self, reactor: Any, process: WriterProcess, took: Callable[[bytes], None], lost: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._socket = process.line
        self._lines = Lines(took, lambda: None)
        self._lost = lost
        self._open = True
        self._unsent = memoryview(b"")
        reactor.addReader(self)

    @property
    def is_full(self) -> bool:
        """Whether bytes wait that the buffer of the socket has no space for."""
        return bool(self._unsent)

    def send(self, frame: bytes) -> None:
        """Send a frame, after those before it."""
        self._unsent = memoryview(bytes(self._unsent) + frame if self._unsent else frame)
        self.doWrite()

    def fileno(self) -> int:
        """Return the descriptor (C{twisted.internet.interfaces.IFileDescriptor})."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return the name in log messages (C{twisted.internet.interfaces.ILoggingContext})."""
        return "audit store"

    def doRead(self) -> None:
        """Read (C{twisted.internet.interfaces.IReadDescriptor})."""
        try:
            data = self._socket.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._lines.feed(data)
        else:
            self._close()

    def doWrite(self) -> None:
        """Write (C{twisted.internet.interfaces.IWriteDescriptor})."""
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent[:_PIECE]) :]
        except BlockingIOError:
            pass
        except OSError:
            # Reading finds the end of the socket, after the last lines of the process.
            self._unsent = memoryview(b"")
        if self._unsent:
            self._reactor.addWriter(self)
        else:
            self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket (C{twisted.internet.interfaces.IFileDescriptor})."""
        self._close()

    def detach(self) -> memoryview:
        """Leave the reactor; return the bytes that are not sent yet."""
        self._open = False
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        return self._unsent

    def _close(self) -> None:
        if self._open:
            self.detach()
            self._socket.close()
            self._lost()


@implementer(IReadDescriptor)
class _Errors:
    """The standard error of a process, in a reactor.

    @param took: is called with each line.
    """

    def __init__(self, reactor: Any, descriptor: int, took: Callable[[bytes], None]) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._lines = Lines(took, lambda: None)
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor (C{twisted.internet.interfaces.IFileDescriptor})."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return the name in log messages (C{twisted.internet.interfaces.ILoggingContext})."""
        return "audit store"

    def doRead(self) -> None:
        """Read (C{twisted.internet.interfaces.IReadDescriptor})."""
        if self._read() == b"":
            self._close()

    def _read(self) -> bytes | None:
        """Read a piece; return C{None} if there is none yet."""
        try:
            data = os.read(self._descriptor, _PIECE)
        except BlockingIOError:
            return None
        self._lines.feed(data)
        return data

    def connectionLost(self, reason: Failure) -> None:
        """Close the pipe (C{twisted.internet.interfaces.IFileDescriptor})."""
        self.end()

    def end(self) -> None:
        """Read the last lines of a process that has ended, and close the pipe."""
        if self._descriptor >= 0:
            while self._read():
                pass
            self._close()

    def _close(self) -> None:
        self._reactor.removeReader(self)
        os.close(self._descriptor)
        self._descriptor = -1


class ProcessWriter:
    """Writes batches in a process, which L{prepare} or a batch starts, and which is started again when it ends.

    If no process can be started, a thread of the proxy writes instead, such as after C{chroot(2)}.

    @param reactor: the reactor.
    @param spec: the settings of the process.
    @param local: writes in this process.
    @param start: starts a process.
    """

    def __init__(
        self, reactor: Any, spec: WriterSpec, local: BatchWriter, start: Callable[[], WriterProcess] = ChildProcess
    ) -> None:
        self._reactor = reactor
        self._spec = spec
        self._local = local
        self._start = start
        self._process: WriterProcess | None = None
        self._line: _Line | None = None
        self._errors: _Errors | None = None
        self._is_local = False
        self._result: Deferred[BatchReport] | None = None
        # The number of records of each part of the batch that is being written, and the results of its first parts.
        self._parts: list[int] = []
        self._reports: list[BatchReport] = []
        # Whether the process has written a batch.
        self._works = False
        self._failures = 0
        self._not_before = 0.0
        self._last_error = ""
        self._fault = ""

    def spool(self) -> SpoolReport | None:
        """Return the state of the spool; see L{BatchWriter.spool}."""
        return self._local.spool()

    def prepare(self) -> None:
        """Start a process; see L{BatchWriter.prepare}.

        It imports its modules while the first records wait for further ones.
        """
        if self._process is None and not self._is_local and self._reactor.seconds() >= self._not_before:
            self._begin()

    def write(self, records: Sequence[bytes]) -> Deferred[BatchReport]:
        """Write a batch; see L{BatchWriter.write}."""
        self.prepare()
        if self._process is None and not self._is_local:
            return fail(WriterLost(self._fault))
        if self._is_local:
            return self._local.write(records)
        self._parts, self._reports = [len(records)], []
        result = self._result = Deferred()
        if self._line is not None:
            # Otherwise, the process is about to end.
            self._line.send(batch_frame(records))
        return result

    def extend(self, records: Sequence[bytes]) -> bool:
        """Add records to the first batch of a process that still starts; see L{BatchWriter.extend}.

        They wait in the buffer of the socket, whose size limits them, and the process also writes them when this one
        was killed meanwhile.
        """
        if self._works or self._result is None or self._line is None or self._line.is_full:
            return False
        self._parts.append(len(records))
        self._line.send(batch_frame(records, is_further=True))
        return True

    def _begin(self) -> None:
        """Start a process."""
        try:
            process = self._process = self._start()
        except OSError as error:
            self._is_local = True
            _log.warn(
                "audit store: the writer process cannot be started ({reason}): a thread of the proxy writes",
                reason=error.strerror,
            )
            return
        self._works, self._last_error = False, ""
        self._errors = _Errors(self._reactor, process.errors, self._take_error)
        self._line = _Line(self._reactor, process, self._take, lambda: self._lost(process))
        self._line.send(spec_frame(self._spec))
        _log.debug("audit store: process {pid} writes the records", pid=process.pid)

    def _take_error(self, line: bytes) -> None:
        self._last_error = line.decode("utf-8", "replace")
        _log.warn("audit store: writer process: {text}", text=self._last_error)

    def _take(self, line: bytes) -> None:
        """Receive the result of a batch, or of a part of it."""
        self._reports.append(parse_report(line))
        if len(self._reports) < len(self._parts):
            return
        self._works, self._failures = True, 0
        result, self._result = self._result, None
        parts = list(zip(self._parts, self._reports, strict=False))
        self._parts, self._reports = [], []
        if result is not None:
            result.callback(merged(parts))

    def _lost(self, process: WriterProcess) -> None:
        """Wait for the end of a process that has closed its socket."""
        self._line = None
        self._look(process, self._reactor.seconds() + _END_WITHIN)

    def _look(self, process: WriterProcess, until: float) -> None:
        if self._process is not process:
            # This object was closed meanwhile.
            return
        how = process.ended()
        if how is None and self._reactor.seconds() < until:
            self._reactor.callLater(_LOOK_EVERY, self._look, process, until)
            return
        if how is None:
            process.kill()
            how = "did not end, and was killed"
        self._end_errors()
        self._process = None
        said = f" ({self._last_error})" if self._last_error else ""
        self._fault = f"the writer process {how}{said}"
        if not self._works:
            delay = min(_FIRST_DELAY * 2**self._failures, _LONGEST_DELAY)
            self._failures += 1
            self._not_before = self._reactor.seconds() + delay
        result, self._result = self._result, None
        if result is None:
            _log.warn("audit store: {fault}; another one starts with the next records", fault=self._fault)
        else:
            result.errback(WriterLost(self._fault))

    def _end_errors(self) -> None:
        if self._errors is not None:
            self._errors.end()
            self._errors = None

    def close(self, records: Sequence[bytes]) -> BatchReport:
        """Write the last records; see L{BatchWriter.close}.

        This process writes them if the other one does not run yet, or does not write them in time.
        """
        process, line = self._process, self._line
        self._process = self._line = None
        if process is None:
            return self._local.close(records)
        unsent = b"" if line is None else bytes(line.detach())
        report = None
        if line is not None and self._works:
            try:
                report = self._finish(process, unsent, records)
            except (OSError, ValueError) as error:
                _log.warn("audit store: the writer process does not respond: {reason}", reason=error)
        if report is None:
            process.kill()
            self._end_errors()
            # The store ignores the records that the process has written.
            return self._local.close(records)
        process.line.close()
        process.wait(_END_WITHIN)
        self._end_errors()
        self._local.close(())
        return report

    def _finish(self, process: WriterProcess, unsent: bytes, records: Sequence[bytes]) -> BatchReport:
        """Have the process write the last records; this blocks.

        @raise OSError: if it does not do so in time.
        @raise ValueError: if its result is not valid.
        """
        until = time.monotonic() + _FINISH_WITHIN
        line = process.line
        errors: tuple[str, ...] = ()
        if self._result is not None:
            _send(line, unsent, until)
            report = parse_report(_receive_line(line, until))
            if report.fault is None:
                records, errors = records[sum(self._parts) :], report.errors
        _send(line, batch_frame(records), until)
        report = parse_report(_receive_line(line, until))
        return attrs.evolve(report, errors=errors + report.errors)


def _left(until: float) -> float:
    return max(0.001, until - time.monotonic())


def _send(line: Any, content: bytes, until: float) -> None:
    line.settimeout(_left(until))
    line.sendall(content)


def _receive_line(line: Any, until: float) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        line.settimeout(_left(until))
        piece = line.recv(_PIECE)
        if not piece:
            raise ConnectionResetError("it has ended")
        received += piece
    return received
