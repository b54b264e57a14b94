"""Tests for L{egress.config.behaviors}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.behaviors import AuditFailure, Mode, OversizeBody, Resolve
from egress.config.model import ProxyConfig


class BehaviorsTests(SynchronousTestCase):
    """The choices."""

    def test_defaults_are_the_first(self) -> None:
        """Each default is the strict or usual behavior, which the documentation lists first."""
        config = ProxyConfig()
        for behavior, default in (
            (Mode, config.mode),
            (OversizeBody, config.oversize_body),
            (Resolve, config.resolve),
            (AuditFailure, config.audit_failure),
        ):
            self.assertIs(next(iter(behavior)), default)
