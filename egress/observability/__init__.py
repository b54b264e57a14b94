"""Observability: the audit log, the metrics and the health checks."""
