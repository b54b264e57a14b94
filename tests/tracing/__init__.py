"""Tests for L{egress.tracing}."""
