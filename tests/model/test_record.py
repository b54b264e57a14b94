"""Tests for L{egress.model.record}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.record import ExchangeRecord


class ExchangeRecordTests(SynchronousTestCase):
    """A record has no defaults, so that no way out can forget a part."""

    def test_every_part_must_be_given(self) -> None:
        for attribute in attrs.fields(ExchangeRecord):
            with self.subTest(attribute.name):
                self.assertIs(attribute.default, attrs.NOTHING)
