"""Exits with status 0 if the proxy in this container is ready, and otherwise prints the reason."""

import json
import os
import urllib.error
import urllib.request

PORT = os.environ.get("EGRESS_METRICS_PORT", "9090")
HOST = os.environ.get("EGRESS_METRICS_INTERFACE", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
# The environment may name the proxy itself as the proxy.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

try:
    OPENER.open(f"http://{HOST}:{PORT}/health/ready", timeout=5)
except urllib.error.HTTPError as error:
    checks = json.load(error).get("checks", {})
    raise SystemExit("; ".join(f"{name}: {reason}" for name, reason in checks.items() if reason != "ok")) from error
except OSError as error:
    raise SystemExit(f"the metrics port {PORT} does not respond: {error}") from error
