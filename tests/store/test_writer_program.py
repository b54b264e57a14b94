"""Tests for L{egress.store.writer_program}."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.model.record import ExchangeRecord
from egress.runtime.child_environment import child_environment
from egress.store.batches import BatchReport
from egress.store.interfaces import StoreError
from egress.store.location import store_to_read
from egress.store.record_codec import encode_record
from egress.store.sqlite import SqliteStore
from egress.store.writer_ipc import WriterSpec, batch_frame, parse_report, spec_frame
from egress.store.writer_program import main, serve
from tests.files import make_directory
from tests.observability.records import ALLOWED
from tests.store.lines import FakeSocket


def batch(*names: str, is_further: bool = False) -> bytes:
    records = [encode_record(attrs.evolve(ALLOWED, request_id=name)) for name in names]
    return batch_frame(records, is_further=is_further)


class ServeTests(SynchronousTestCase):
    """The process writes what it receives."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.location = f"sqlite:{self.directory / 'audit.db'}"
        self.socket = FakeSocket()
        self.line: Any = self.socket

    def spec(self) -> bytes:
        # A record of today would be deleted in some years.
        return spec_frame(WriterSpec.of(ProxyConfig(audit_store=self.location, audit_store_days=100_000), 0))

    def serve(self, *frames: bytes) -> list[BatchReport]:
        self.socket.incoming = list(frames)
        serve(self.line)
        return [parse_report(line) for line in self.socket.sent.splitlines(keepends=True)]

    def stored(self) -> int:
        store = store_to_read(self.location)
        self.addCleanup(store.close)
        return store.last_seq()

    def test_batches(self) -> None:
        self.assertEqual(self.serve(self.spec(), batch("a", "b"), batch(), batch("c")), [BatchReport()] * 3)
        self.assertEqual(self.stored(), 3)

    def test_no_proxy(self) -> None:
        """The store is opened by the first batch."""
        self.assertEqual(self.serve(), [])
        self.assertEqual(self.serve(self.spec()), [])
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_unusable_store(self) -> None:
        """The records are written again later."""
        location = self.location
        self.location = f"sqlite:{self.directory / 'missing' / 'audit.db'}"
        (report,) = self.serve(self.spec(), batch("a"))
        self.assertTrue(report.again)
        self.assertIn("cannot be written to", report.fault or "")
        self.location = location

    def test_further_parts(self) -> None:
        """A part of a batch does not overtake an earlier part that must be written again, nor is it written twice."""
        writes = iter((StoreError("disk full"), None, None))

        def append(store: SqliteStore, records: Sequence[ExchangeRecord]) -> None:
            if (error := next(writes)) is not None:
                raise error
            written.append([record.request_id for record in records])

        written: list[list[str]] = []
        self.patch(SqliteStore, "append", append)
        reports = self.serve(
            self.spec(), batch("a"), batch("b", is_further=True), batch("a", "b"), batch("c", is_further=True)
        )
        failed = BatchReport(fault="disk full", again=True)
        self.assertEqual(reports, [failed, failed, BatchReport(), BatchReport()])
        self.assertEqual(written, [["a", "b"], ["c"]])

    def test_killed_proxy(self) -> None:
        """The batches that arrived are written, although nothing receives their results."""
        self.patch(self.socket, "sendall", self.refuse)
        self.serve(self.spec(), batch("a"), batch("b"))
        self.assertEqual(self.stored(), 2)

    def test_modules(self) -> None:
        """The process starts without the modules of the proxy, such as those of its reactor and its configuration."""
        found = "from sys import modules; print(*sorted(modules))"
        command = [sys.executable, "-c", f"import egress.store.writer_program; {found}"]
        environ = child_environment(os.environ, sys.path)
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        modules = set(done.stdout.split())
        self.assertLess({"egress.store.sqlite", "egress.store.postgresql"}, modules)
        self.assertEqual({"twisted", "egress.config.model", "asyncio", "urllib.request"} & modules, set())

    def refuse(self, data: bytes) -> None:
        raise BrokenPipeError

    def test_main(self) -> None:
        """Signals for the group of the proxy do not end the process."""
        ignored = []
        self.patch(signal, "signal", lambda number, action: ignored.append((number, action)))
        self.patch(sys, "argv", ["writer", "7"])
        served = []

        class Line(FakeSocket):
            def __init__(self, *, fileno: int) -> None:
                super().__init__()
                served.append(fileno)

            def __enter__(self) -> Line:
                return self

            def __exit__(self, *_: object) -> None:
                self.close()

        self.patch(socket, "socket", Line)
        main()
        self.assertEqual(served, [7])
        self.assertTrue({(signal.SIGINT, signal.SIG_IGN), (signal.SIGTERM, signal.SIG_IGN)} <= set(ignored))
