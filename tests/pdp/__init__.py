"""Tests for L{egress.pdp}."""
