"""The metrics of a supervisor of workers."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge

from egress.observability.collectors import SourceCounter
from egress.observability.metrics import process_registry


def parent_metrics(
    configured: int, running: Callable[[], float], lost: Callable[[], float]
) -> tuple[CollectorRegistry, Counter]:
    """Make the registry of a supervisor, with the counter of restarted workers.

    @param configured: the number of configured workers.
    @param running: returns the number of running workers.
    @param lost: returns the number of lost audit lines.
    """
    registry = process_registry()
    workers = Gauge("egress_workers", "Configured and running workers.", ["state"], registry=registry)
    workers.labels("configured").set(configured)
    workers.labels("running").set_function(running)
    text = "Audit log lines that could not be written."
    SourceCounter("egress_audit_lines_lost", text, registry=registry).source = lost
    return registry, Counter("egress_worker_restarts", "Restarted workers.", registry=registry)
