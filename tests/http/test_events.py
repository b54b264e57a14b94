"""Tests for L{egress.http.events}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.http.events import DELIMITED, NO_BODY, UNTIL_CLOSE, BodyKind, Framing


class FramingTests(SynchronousTestCase):
    """The framing tells whether content may follow a head."""

    def test_has_body(self) -> None:
        self.assertFalse(NO_BODY.has_body)
        for framing in (DELIMITED, UNTIL_CLOSE, Framing(BodyKind.LENGTH, 1)):
            self.assertTrue(framing.has_body)
