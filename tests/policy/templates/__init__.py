"""Tests for L{egress.policy.templates}."""
