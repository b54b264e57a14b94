"""Tests for L{egress.messages}."""
