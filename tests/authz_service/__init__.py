"""Tests for L{egress.authz_service}."""
