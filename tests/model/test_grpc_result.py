"""Tests for L{egress.model.grpc_result}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.grpc_result import GrpcResult


class ResultTests(SynchronousTestCase):
    """The value."""

    def test_members(self) -> None:
        """They are the members in audit records."""
        self.assertEqual(
            attrs.asdict(GrpcResult("a.B", "C", None)),
            {"service": "a.B", "method": "C", "status": None},
        )
