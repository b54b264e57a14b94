"""Tests for L{egress.http2}."""
