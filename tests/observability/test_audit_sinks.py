"""Tests for L{egress.observability.audit_sinks}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from egress.interfaces import IAuditSink
from egress.model.record import ExchangeRecord
from egress.observability.audit_sinks import AuditSinks
from tests.observability.records import ALLOWED


@implementer(IAuditSink)
class _Sink:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.events: list[object] = []

    def __len__(self) -> int:
        return 0

    def write(self, record: ExchangeRecord) -> None:
        self.events.append(record)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.events.append("closed")


class AuditSinksTests(SynchronousTestCase):
    """L{AuditSinks}."""

    def test_interface(self) -> None:
        verifyObject(IAuditSink, AuditSinks())

    def test_every_sink(self) -> None:
        """A sink that fails, or is false, stops no other; one that is missing is left out."""
        failing, other = _Sink(RuntimeError("full")), _Sink()
        sinks = AuditSinks(failing, None, other)
        sinks.write(ALLOWED)
        sinks.close()
        self.assertEqual((failing.events, other.events), ([ALLOWED, "closed"], [ALLOWED, "closed"]))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
