"""Tests with real sockets and real programs."""

from __future__ import annotations

from tests.integration.processes import default_handlers

default_handlers()
