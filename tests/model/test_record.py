"""Tests for L{egress.model.record}."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.model.record import ExchangeRecord


class ExchangeRecordTests(SynchronousTestCase):
    """A record has no defaults, so no code path can omit a field."""

    def test_fields_have_no_defaults(self) -> None:
        for attribute in attrs.fields(ExchangeRecord):
            with self.subTest(attribute.name):
                self.assertIs(attribute.default, attrs.NOTHING)
