"""The audit sinks of a service: its metrics, its audit log, and the sink of the application."""

from __future__ import annotations

from twisted.logger import Logger
from zope.interface import classImplements

from egress.interfaces import IAuditSink
from egress.model.record import ExchangeRecord

_log = Logger()


class AuditSinks:
    """Several audit sinks as one, which neither stops nor fails because of one of them.

    @param sinks: in the order in which they receive each record; a sink that is C{None} is left out.
    """

    def __init__(self, *sinks: IAuditSink | None) -> None:
        self._sinks = tuple(sink for sink in sinks if sink is not None)

    def write(self, record: ExchangeRecord) -> None:
        """Pass a record to every sink (L{IAuditSink.write})."""
        for sink in self._sinks:
            try:
                sink.write(record)
            except Exception:  # noqa: BLE001 - the faults of a sink are not the client's
                _log.failure("an audit sink failed")

    def close(self) -> None:
        """Close every sink (L{IAuditSink.close})."""
        for sink in self._sinks:
            sink.close()


# A decorator would keep the compiler from making the class a native one.
classImplements(AuditSinks, IAuditSink)
