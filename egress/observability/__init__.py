"""What an operator sees of a proxy: the audit log, the metrics and the health checks."""
