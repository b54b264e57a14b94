"""Tests for L{egress.observability.audit_log}."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import attrs
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from egress.config.model import ConfigError
from egress.interfaces import IAuditSink
from egress.model.file_access import FileAccess, FileMode
from egress.model.grpc_result import GrpcResult
from egress.observability import audit_log as audit
from egress.observability.audit_log import JsonLinesAudit, LineFile, LinesLost, audit_line, configured_audit
from tests.files import disk_full, would_block
from tests.observability.records import ALLOWED, ALLOWED_FIELDS, REFUSED


class AuditLineTests(SynchronousTestCase):
    """A record is one line of JSON."""

    def test_every_field(self) -> None:
        line = audit_line(ALLOWED)
        self.assertEqual(line.count(b"\n"), 1)
        self.assertTrue(line.endswith(b"}\n"))
        self.assertEqual(
            json.loads(line),
            {
                "time": "2023-11-14T22:13:20.250Z",
                "requestId": "abc123",
                **ALLOWED_FIELDS,
            },
        )

    def test_header_fields(self) -> None:
        line = audit_line(attrs.evolve(ALLOWED, request_headers=(("Accept", "*/*"),), response_headers=(("A", "b"),)))
        fields = json.loads(line)
        self.assertEqual((fields["requestHeaders"], fields["responseHeaders"]), ([["Accept", "*/*"]], [["A", "b"]]))

    def test_grpc(self) -> None:
        self.assertNotIn("grpc", json.loads(audit_line(ALLOWED)))
        line = audit_line(attrs.evolve(ALLOWED, grpc=GrpcResult("a.B", "C", "OK")))
        self.assertEqual(json.loads(line)["grpc"], {"service": "a.B", "method": "C", "status": "OK"})

    def test_unknown_values_are_null(self) -> None:
        fields = json.loads(audit_line(REFUSED))
        self.assertEqual(fields["client"], "[2001:db8::7]:40000")
        for name in ("identity", "observed", "source", "ruleId", "decisionMs", "address", "upstream", "status"):
            with self.subTest(name):
                self.assertIsNone(fields[name])

    def test_line_feeds_and_lone_surrogates_cannot_break_the_line(self) -> None:
        line = audit_line(attrs.evolve(ALLOWED, reason="a\nb\u2028\udcff"))
        self.assertEqual(line.count(b"\n"), 1)
        self.assertTrue(line.isascii())
        self.assertEqual(json.loads(line)["reason"], "a\nb\u2028\udcff")


class LineFileTests(SynchronousTestCase):
    """Lines are appended completely, or lost and counted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())

    def open(self) -> LineFile:
        return LineFile(self.path, clock=self.clock.seconds)

    def fail_next(self, *results: int | OSError) -> None:
        """Make the next writes accept only that many bytes, or fail."""
        write, script = os.write, list(results)

        def scripted(descriptor: int, data: bytes) -> int:
            result = script.pop(0) if script else len(data)
            if isinstance(result, OSError):
                raise result
            return write(descriptor, data[:result])

        self.patch(os, "write", scripted)

    def test_appends(self) -> None:
        self.path.write_bytes(b"before\n")
        file = self.open()
        file.write(b"one\n")
        file.write(b"two\n")
        self.assertEqual(self.path.read_bytes(), b"before\none\ntwo\n")
        file.close()

    def test_file_mode_is_owner_only(self) -> None:
        file = self.open()
        self.addCleanup(file.close)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode) & 0o077, 0)

    def test_two_writers_do_not_mix_lines(self) -> None:
        first, second = self.open(), self.open()
        for number in range(3):
            first.write(b"a%d\n" % number)
            second.write(b"b%d\n" % number)
        self.assertEqual(self.path.read_bytes(), b"a0\nb0\na1\nb1\na2\nb2\n")
        first.close()
        second.close()

    def test_cannot_be_opened(self) -> None:
        self.path.mkdir()
        with self.assertRaises(IsADirectoryError):
            self.open()

    def test_moved_file(self) -> None:
        file = self.open()
        file.write(b"one\n")
        moved = self.path.rename(self.path.with_suffix(".1"))
        file.write(b"two\n")
        self.clock.advance(1)
        file.write(b"three\n")
        file.close()
        self.assertEqual(moved.read_bytes(), b"one\ntwo\n")
        self.assertEqual(self.path.read_bytes(), b"three\n")

    def test_replaced_file(self) -> None:
        file = self.open()
        file.write(b"one\n")
        self.path.rename(self.path.with_suffix(".1"))
        self.path.write_bytes(b"new\n")
        self.clock.advance(1)
        file.write(b"two\n")
        self.clock.advance(1)
        file.write(b"three\n")
        file.close()
        self.assertEqual(self.path.read_bytes(), b"new\ntwo\nthree\n")

    def test_moved_file_that_cannot_be_created_again(self) -> None:
        file = self.open()
        moved = self.path.rename(self.path.with_suffix(".1"))
        self.path.mkdir()
        self.clock.advance(1)
        with self.assertRaises(LinesLost) as caught:
            file.write(b"one\n")
        self.assertEqual(caught.exception.lines, 0)
        self.assertEqual(moved.read_bytes(), b"one\n")
        file.close()

    def test_reopen(self) -> None:
        file = self.open()
        file.write(b"one\n")
        self.path.unlink()
        file.reopen()
        file.write(b"two\n")
        file.close()
        self.assertEqual(self.path.read_bytes(), b"two\n")

    def test_full_disk(self) -> None:
        file = self.open()
        self.fail_next(OSError(errno.ENOSPC, "No space left on device"))
        with self.assertRaises(LinesLost) as caught:
            file.write(b"one\n")
        self.assertEqual((caught.exception.lines, caught.exception.strerror), (1, "No space left on device"))
        file.write(b"two\n")
        self.assertEqual(self.path.read_bytes(), b"two\n")
        file.close()

    def test_disk_full_in_the_middle_of_a_line(self) -> None:
        file = self.open()
        full = OSError(errno.ENOSPC, "No space left on device")
        self.fail_next(2, full, full)
        for line in (b"one\n", b"two\n"):
            with self.assertRaises(LinesLost) as caught:
                file.write(line)
            self.assertEqual(caught.exception.lines, 1)
        file.write(b"three\n")
        file.write(b"four\n")
        self.assertEqual(self.path.read_bytes(), b"on\nthree\nfour\n")
        file.close()


class PipeTests(SynchronousTestCase):
    """A reader that is slow or has closed the pipe never blocks the proxy."""

    def setUp(self) -> None:
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.writer)
        self.clock = Clock()
        self.seconds: Callable[[], float] = self.clock.seconds
        self.file = LineFile(None, self.writer, lambda: self.seconds())

    def close_reader(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def tearDown(self) -> None:
        self.close_reader()

    def fill(self) -> None:
        os.set_blocking(self.writer, False)
        while True:
            try:
                os.write(self.writer, b"." * 4096)
            except BlockingIOError:
                break
        os.set_blocking(self.writer, True)

    def drain(self) -> bytes:
        os.set_blocking(self.reader, False)
        data = b""
        while True:
            try:
                data += os.read(self.reader, 65536)
            except BlockingIOError:
                return data.lstrip(b".")

    def test_written_immediately(self) -> None:
        self.file.write(b"one\n")
        self.assertEqual(self.drain(), b"one\n")

    def test_line_longer_than_one_write(self) -> None:
        line = b"x" * 10_000 + b"\n"
        self.file.write(line)
        self.assertEqual(self.drain(), line)

    def test_slow_reader_gets_everything_later(self) -> None:
        self.fill()
        self.file.write(b"one\n")
        self.file.write(b"two\n")
        self.assertEqual(self.drain(), b"")
        self.file.write(b"three\n")
        self.assertEqual(self.drain(), b"one\ntwo\nthree\n")

    def test_non_blocking_pipe(self) -> None:
        self.fill()
        os.set_blocking(self.writer, False)
        os.read(self.reader, 100)
        self.file.write(b"x" * 5000 + b"\n")
        self.assertEqual(self.drain(), b"")
        self.file.write(b"two\n")
        self.assertEqual(self.drain(), b"x" * 5000 + b"\ntwo\n")

    def test_write_that_would_block_after_poll(self) -> None:
        with mock.patch.object(os, "write", would_block):
            self.file.write(b"one\n")
        self.file.write(b"two\n")
        self.assertEqual(self.drain(), b"one\ntwo\n")

    def test_backlog_is_bounded(self) -> None:
        self.fill()
        line = b"x" * 99_999 + b"\n"
        for _ in range(10):
            self.file.write(line)
        with self.assertRaises(LinesLost) as caught:
            self.file.write(line)
        self.assertEqual(caught.exception.lines, 1)
        self.drain()
        self.file.write(b"two\n")
        received = b""
        while piece := self.drain():
            received += piece
            self.file.write(b"")
        self.assertEqual(received, line * 10 + b"two\n")

    def test_one_line_longer_than_the_backlog(self) -> None:
        with self.assertRaises(LinesLost):
            self.file.write(b"x" * 2_000_000 + b"\n")
        begun = self.drain()
        self.assertEqual(begun.strip(b"x"), b"")
        self.file.write(b"two\n")
        self.assertEqual(self.drain(), b"\ntwo\n")

    def test_reader_closed(self) -> None:
        self.fill()
        self.file.write(b"one\n")
        self.close_reader()
        with self.assertRaises(LinesLost) as caught:
            self.file.write(b"two\n")
        self.assertEqual((caught.exception.lines, caught.exception.errno), (2, errno.EPIPE))

    def test_close_does_not_close_the_descriptor(self) -> None:
        self.file.reopen()
        self.file.close()
        self.assertEqual(os.write(self.writer, b"x"), 1)

    def test_close_waits_for_a_slow_reader(self) -> None:
        self.fill()
        self.file.write(b"one\n")
        self.drain()
        self.file.close()
        self.assertEqual(self.drain(), b"one\n")

    def test_close_does_not_wait_indefinitely(self) -> None:
        self.fill()
        self.file.write(b"one\n")
        # The clock advances between the start of close() and the poll of the pipe.
        times = iter([0.0, 5.0])
        self.seconds = lambda: next(times)
        with self.assertRaises(LinesLost) as caught:
            self.file.close()
        self.assertEqual(caught.exception.lines, 1)


class FifoTests(SynchronousTestCase):
    """Opening a FIFO does not wait for its reader."""

    def test_no_reader(self) -> None:
        path = self.mktemp()
        os.mkfifo(path)
        with self.assertRaises(OSError) as caught:
            LineFile(Path(path))
        self.assertEqual(caught.exception.errno, errno.ENXIO)

    def test_reader(self) -> None:
        path = self.mktemp()
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        file = LineFile(Path(path))
        file.write(b"one\n")
        self.assertEqual(os.read(reader, 100), b"one\n")
        file.close()


class JsonLinesAuditTests(SynchronousTestCase):
    """The sink never raises; it counts and logs lost lines."""

    def setUp(self) -> None:
        self.clock = Clock()
        capture = capturedLogs()
        self.events = capture.__enter__()
        self.addCleanup(capture.__exit__, None, None, None)

    def errors(self) -> list[tuple[int, int]]:
        return [(event["lines"], event["total"]) for event in self.events if event["log_namespace"] == audit.__name__]

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IAuditSink, JsonLinesAudit(print)))

    def test_function(self) -> None:
        lines: list[bytes] = []
        sink = JsonLinesAudit(lines.append)
        sink.write(ALLOWED)
        sink.reopen()
        sink.close()
        self.assertEqual(lines, [audit_line(ALLOWED)])
        self.assertEqual(sink.lost, 0)

    def test_file(self) -> None:
        path = Path(self.mktemp())
        sink = configured_audit(str(path))
        sink.write(ALLOWED)
        path.unlink()
        sink.reopen()
        sink.write(REFUSED)
        sink.close()
        self.assertEqual(path.read_bytes(), audit_line(REFUSED))

    def test_cannot_be_opened(self) -> None:
        path = os.path.join(self.mktemp(), "absent")
        error = self.assertRaises(ConfigError, configured_audit, path)
        self.assertEqual(str(error), f"--audit-log {path!r}: cannot be written to: No such file or directory")

    def test_permissions(self) -> None:
        """The file has them whenever it is created, for example after a rotation."""
        path = Path(self.mktemp())
        sink = configured_audit(str(path), FileAccess(FileMode.GROUP_READS, os.getgid()))
        self.addCleanup(sink.close)
        sink.write(ALLOWED)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)
        path.unlink()
        sink.reopen()
        self.assertEqual((stat.S_IMODE(path.stat().st_mode), path.stat().st_gid), (0o640, os.getgid()))

    def test_group_of_other_users(self) -> None:
        """A process without privileges cannot give a file to a group of which its user is no member."""
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(os, "getegid", lambda: 1000)
        self.patch(os, "getgroups", lambda: [4])
        error = self.assertRaises(ConfigError, configured_audit, self.mktemp(), FileAccess(group=5))
        self.assertEqual(error.option, "--audit-log-group")
        with mock.patch.object(os, "fchown") as fchown:
            for group in (4, 1000):
                configured_audit(self.mktemp(), FileAccess(group=group)).close()
        self.assertEqual([call.args[2] for call in fchown.call_args_list], [4, 1000])

    def test_standard_output(self) -> None:
        opened: list[object] = []

        class Recorder(LineFile):
            def __init__(self, path: Path | None, clock: object, access: object) -> None:
                opened.append(path)

        self.patch(audit, "LineFile", Recorder)
        JsonLinesAudit("-")
        self.assertEqual(opened, [None])

    def test_failures_are_counted_and_logged_once_a_minute(self) -> None:
        def broken(line: bytes) -> None:
            raise RuntimeError("out of order")

        sink = JsonLinesAudit(broken, self.clock.seconds)
        for _ in range(3):
            sink.write(ALLOWED)
        self.assertEqual(self.errors(), [(1, 1)])
        self.clock.advance(60)
        sink.write(ALLOWED)
        self.assertEqual(self.errors(), [(1, 1), (3, 4)])
        self.assertEqual(sink.lost, 4)

    def test_lines_of_another_process(self) -> None:
        lines: list[bytes] = []
        sink = JsonLinesAudit(lines.append, self.clock.seconds)
        sink.write_line(b"{}\n")
        sink.lose(OSError("half of one"))
        self.assertEqual((lines, sink.lost, self.errors()), ([b"{}\n"], 1, [(1, 1)]))

    def test_file_that_fails(self) -> None:
        path = Path(self.mktemp())
        sink = JsonLinesAudit(path, self.clock.seconds)

        self.patch(os, "write", disk_full)
        sink.write(ALLOWED)
        self.assertEqual((sink.lost, self.errors()), (1, [(1, 1)]))
        sink.close()

    def test_fault_is_reset_by_the_next_line_written(self) -> None:
        full = True

        def write(line: bytes) -> None:
            if full:
                raise OSError(errno.ENOSPC, "No space left on device")

        sink = JsonLinesAudit(write, self.clock.seconds)
        self.assertIsNone(sink.fault)
        sink.write(ALLOWED)
        self.assertEqual(sink.fault, "No space left on device")
        self.assertEqual(sink.note, "the audit log cannot be written: No space left on device")
        full = False
        sink.write(ALLOWED)
        self.assertIsNone(sink.fault)
        self.assertEqual(self.errors(), [(1, 1)])

    def test_reopen_failure(self) -> None:
        path = Path(self.mktemp())
        sink = JsonLinesAudit(path, self.clock.seconds)
        path.unlink()
        path.mkdir()
        sink.reopen()
        self.assertEqual((sink.lost, self.errors()), (0, [(0, 0)]))
        sink.close()

    def test_close_failure(self) -> None:
        path = Path(self.mktemp())
        sink = JsonLinesAudit(path, self.clock.seconds)
        self.patch(os, "write", would_block)
        sink.write(ALLOWED)
        sink.close()
        self.assertEqual((sink.lost, self.errors()), (1, [(1, 1)]))
