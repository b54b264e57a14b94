"""Setups for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from egress.checks.setup import Setup

PROXY = "http://127.0.0.1:8080"
CA = Path("/ca/ca.pem")
BUNDLE = Path("/ca/clients/bundle.pem")
NAMED = {"HTTPS_PROXY": PROXY, "https_proxy": PROXY, "HTTP_PROXY": PROXY, "http_proxy": PROXY}
TRUSTED = {**NAMED, "SSL_CERT_FILE": str(BUNDLE)}


def setup(environ: dict[str, str] | None = None, **options: Any) -> Setup:
    """Return a running proxy with its CA on this machine."""
    arguments: dict[str, Any] = {"own": False, "ca": CA, "bundle": BUNDLE, **options}
    return Setup(proxy=PROXY, environ=TRUSTED if environ is None else environ, **arguments)
