"""Tests for L{egress.config.limit_options}."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.limit_options import LIMIT_OPTIONS
from egress.config.model import Limits
from egress.config.options import OPTIONS
from egress.config.parsers import ParseContext


class LimitOptionsTests(SynchronousTestCase):
    """Each option sets one limit, and documents its default."""

    def test_fields(self) -> None:
        known = {f"limits.{attribute.name}" for attribute in attrs.fields(Limits)}
        self.assertLessEqual({field for option in LIMIT_OPTIONS for field in option.fields}, known)

    def test_defaults(self) -> None:
        for option in LIMIT_OPTIONS:
            with self.subTest(option.name):
                (field,) = option.fields
                default = option.parse(option.default, ParseContext(Path()))
                self.assertEqual(default, getattr(Limits(), field.removeprefix("limits.")))

    def test_part_of_the_table(self) -> None:
        self.assertLessEqual(set(LIMIT_OPTIONS), set(OPTIONS))
