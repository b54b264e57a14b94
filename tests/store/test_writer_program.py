"""Tests for L{egress.store.writer_program}."""

from __future__ import annotations

import signal
import socket
import sys
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.store.batches import BatchReport
from egress.store.location import store_to_read
from egress.store.record_codec import encode_record
from egress.store.writer_ipc import WriterSpec, batch_frame, parse_report, spec_frame
from egress.store.writer_program import main, serve
from tests.files import make_directory
from tests.observability.records import ALLOWED
from tests.store.lines import FakeSocket


def batch(*names: str) -> bytes:
    return batch_frame([encode_record(attrs.evolve(ALLOWED, request_id=name)) for name in names])


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

    def test_killed_proxy(self) -> None:
        """The batches that arrived are written, although nothing receives their results."""
        self.patch(self.socket, "sendall", self.refuse)
        self.serve(self.spec(), batch("a"), batch("b"))
        self.assertEqual(self.stored(), 2)

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
