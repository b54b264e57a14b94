"""Tests for L{egress.grpc}."""
