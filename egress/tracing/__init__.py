"""OpenTelemetry: spans, metrics and logs of the proxy, exported with OTLP over HTTP."""
