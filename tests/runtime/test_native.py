"""Tests for L{egress.runtime.native}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.native import mypyc_attr


class DecoratorTests(SynchronousTestCase):
    """Without the compiler, the decorator has no effect."""

    def test_the_class_is_unchanged(self) -> None:
        class Plain:
            """A class."""

        self.assertIs(mypyc_attr(allow_interpreted_subclasses=True)(Plain), Plain)
