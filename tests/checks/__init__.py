"""Tests for L{egress.doctor}."""
