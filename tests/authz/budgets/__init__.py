"""Tests for L{egress.authz.budgets}."""
