"""Tests for L{egress.shared}."""
