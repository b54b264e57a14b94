"""Tests for L{egress.model.outcome}."""

from __future__ import annotations

from http import HTTPStatus

from twisted.trial.unittest import SynchronousTestCase

from egress.model.outcome import failed, rejected, unavailable


class OutcomeTests(SynchronousTestCase):
    """The outcomes by the party at fault."""

    def test_verdicts(self) -> None:
        self.assertEqual(rejected(HTTPStatus.BAD_REQUEST, "x").verdict, "rejected")
        self.assertEqual(unavailable("x", "y").status, HTTPStatus.SERVICE_UNAVAILABLE)
        self.assertEqual(failed(HTTPStatus.BAD_GATEWAY, "x", "y", "z").proxy_error, "z")
