"""Tests for L{egress.trust}."""
