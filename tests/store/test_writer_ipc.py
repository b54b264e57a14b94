"""Tests for L{egress.store.writer_ipc}."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ProxyConfig
from egress.model.statistics import SpoolStats
from egress.store.batches import BatchReport, Retention, SpoolReport
from egress.store.writer_ipc import (
    WriterSpec,
    batch_frame,
    parse_report,
    receive_batch,
    receive_spec,
    report_line,
    spec_frame,
)
from tests.files import make_directory
from tests.store.lines import FakeSocket


class FrameTests(SynchronousTestCase):
    """Messages arrive as they were sent, in pieces of any size."""

    def setUp(self) -> None:
        self.socket = FakeSocket()
        self.line: Any = self.socket

    def test_spec(self) -> None:
        """It has only the settings of the audit store, with the secrets that are needed for them."""
        config = ProxyConfig(
            authz_url="http://a.test",
            authz_token="hunter2",
            audit_store="postgresql://db.test/audit",
            audit_store_password="hunter3",
            audit_store_days=7,
            ca_dir=Path("/state"),
        )
        spec = WriterSpec.of(config, 3)
        self.assertEqual(
            (spec.worker, spec.retention, spec.rolls_up), (3, Retention(7, config.audit_store_size), False)
        )
        self.assertEqual((spec.config.audit_store_password, spec.config.ca_dir), ("hunter3", Path("/state")))
        self.assertNotIn(b"hunter2", pickle.dumps(spec))
        self.socket.incoming = [bytes([byte]) for byte in spec_frame(spec)]
        self.assertEqual(receive_spec(self.line), spec)
        self.assertNotIn("hunter", repr(spec))

    def test_signing_key(self) -> None:
        """The process gets the key, because it need not have the right to read the file."""
        path = make_directory(self) / "audit.key"
        spec = WriterSpec.of(ProxyConfig(audit_store="sqlite:/a.db", audit_signing_key=path), 0)
        assert spec.signer is not None
        path.unlink()
        self.socket.incoming = [spec_frame(spec)]
        received = receive_spec(self.line)
        assert received is not None
        assert received.signer is not None
        block = (1, b"", 1, [b"leaf"])
        self.assertEqual(received.signer.block(*block), spec.signer.block(*block))
        self.assertIsNone(received.config.audit_signing_key)

    def test_batches(self) -> None:
        content = batch_frame([b"one", b"", b"x" * 300_000]) + batch_frame([], is_further=True)
        self.socket.incoming = [content[:3], content[3:70_000], content[70_000:]]
        self.assertEqual(receive_batch(self.line), (False, [b"one", b"", b"x" * 300_000]))
        self.assertEqual(receive_batch(self.line), (True, []))

    def test_end(self) -> None:
        """The proxy can end at any time."""
        self.assertIsNone(receive_spec(self.line))
        for incoming in (b"", b"\0\0", batch_frame([b"one"])[:-1], batch_frame([b"one"])[:7]):
            self.socket.incoming = [incoming] if incoming else []
            self.assertIsNone(receive_batch(self.line))
        self.socket.incoming = [b"\0", ConnectionResetError()]
        self.assertIsNone(receive_batch(self.line))

    def test_reports(self) -> None:
        stats = SpoolStats(reached=False, records=3, size=100, oldest=1.5)
        for report in (
            BatchReport(),
            BatchReport(fault="no route", again=True, checkpoint="1:ab"),
            BatchReport(errors=("too large",), more=True, spool=SpoolReport("away", stats, late=1, refused=2)),
        ):
            line = report_line(report)
            self.assertEqual((line.count(b"\n"), line[-1:]), (1, b"\n"))
            self.assertEqual(parse_report(line), report)
