"""Tests for L{egress.observability.sampler}."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from egress.observability.sampler import SECONDS, Sampler
from tests.files import make_directory
from tests.threads import immediately

NOW = 1_700_002_800.0


class SamplerTests(SynchronousTestCase):
    """The metrics are read every ten seconds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = make_directory(self) / "history.json"
        self.allowed = 0
        self.result: Any = None
        self.sampler = self.make()

    def make(self, **given: Any) -> Sampler:
        values = {"offload": immediately, "path": self.path, **given}
        return Sampler(self.clock, lambda: NOW + self.clock.seconds(), self.metrics, **values)

    def metrics(self) -> Any:
        if self.result is not None:
            return self.result
        self.allowed += 1
        text = f'# TYPE egress_decisions counter\negress_decisions_total{{verdict="allow"}} {self.allowed}\n'
        return succeed((text.encode(), "text/plain"))

    def counted(self, sampler: Sampler) -> list[float]:
        return [each.requests for each in sampler.history.day.last(NOW + self.clock.seconds()) if each is not None]

    def test_readings(self) -> None:
        self.successResultOf(self.sampler.start())
        self.assertEqual(self.counted(self.sampler), [1.0])
        self.clock.pump([SECONDS] * 3)
        self.assertEqual(self.counted(self.sampler), [4.0])
        self.sampler.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_read_now(self) -> None:
        """A page has the current numbers; pages at the same time share a reading."""
        self.successResultOf(self.sampler.start())
        self.successResultOf(self.sampler.read())
        self.assertEqual(self.counted(self.sampler), [1.0])
        self.clock.advance(1.0)
        self.result = Deferred()
        one, other = self.sampler.read(), self.sampler.read()
        self.assertNoResult(one)
        waiting, self.result = self.result, None
        self.metrics().addCallback(waiting.callback)
        self.successResultOf(one)
        self.successResultOf(other)
        self.assertEqual(self.counted(self.sampler), [2.0])
        self.sampler.stop()
        self.clock.advance(1.0)
        self.successResultOf(self.sampler.read())
        self.assertEqual(self.counted(self.sampler), [2.0])

    def test_restart(self) -> None:
        """The history survives a restart."""
        self.successResultOf(self.sampler.start())
        self.sampler.stop()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.allowed = 4
        self.sampler = self.make()
        self.successResultOf(self.sampler.start())
        self.assertEqual(self.counted(self.sampler), [6.0])
        self.sampler.stop()

    def test_saves(self) -> None:
        """The history is stored every minute, so that a killed process loses little."""
        self.successResultOf(self.sampler.start())
        self.clock.pump([SECONDS] * 5)
        self.assertFalse(self.path.exists())
        self.clock.pump([SECONDS])
        first = json.loads(self.path.read_bytes())
        self.clock.pump([SECONDS] * 6)
        self.assertNotEqual(json.loads(self.path.read_bytes()), first)
        self.sampler.stop()

    def test_no_file(self) -> None:
        sampler = self.make(path=None)
        self.successResultOf(sampler.start())
        self.clock.pump([SECONDS] * 7)
        self.assertEqual(self.counted(sampler), [8.0])
        sampler.stop()
        self.assertFalse(self.path.exists())

    def test_other_content(self) -> None:
        for content in (b"", b"{}", b"[" * 100000):
            self.path.write_bytes(content)
            sampler = self.make()
            with capturedLogs() as events:
                self.successResultOf(sampler.start())
            self.assertIn("begin now", events[0]["log_format"])
            self.assertEqual(len(self.counted(sampler)), 1)
            sampler.stop()

    def test_unreadable(self) -> None:
        """A file that cannot be used is reported once."""
        self.path.mkdir()
        with capturedLogs() as events:
            self.successResultOf(self.sampler.start())
            self.clock.pump([SECONDS] * 13)
            self.sampler.stop()
        self.assertEqual(len(events), 1)
        self.assertIn("are not stored", events[0]["log_format"])
        self.assertEqual(self.counted(self.sampler), [14.0])

    def test_failed_reading(self) -> None:
        self.successResultOf(self.sampler.start())
        self.result = succeed((b"\xff", "text/plain"))
        self.clock.advance(SECONDS)
        self.assertEqual(len(self.flushLoggedErrors(UnicodeDecodeError)), 1)
        self.result = None
        self.clock.advance(SECONDS)
        self.assertEqual(self.counted(self.sampler), [2.0])
        self.sampler.stop()

    def test_stop_while_reading(self) -> None:
        self.result = Deferred()
        self.successResultOf(self.sampler.start())
        self.sampler.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.path.exists())

    def test_stop_while_loading(self) -> None:
        loading: Deferred[Any] = Deferred()
        sampler = self.make(offload=lambda call: loading)
        started = sampler.start()
        sampler.stop()
        loading.cancel()
        self.successResultOf(started)
        self.assertEqual(self.clock.getDelayedCalls(), [])
