"""Tests for L{egress.notify}."""
