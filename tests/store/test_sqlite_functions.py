"""Tests for L{egress.store.sqlite_functions}; C{tests.store.search_cases} has searches that use them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.store.sqlite_functions import FUNCTIONS


class FunctionTests(SynchronousTestCase):
    """The functions for conditions that SQL does not have."""

    def function(self, name: str) -> Any:
        return next(function for each, _, function in FUNCTIONS if each == name)

    def test_regexp(self) -> None:
        regexp = self.function("regexp")
        for value, expected in (("/v1/a/items", True), ("/v1/a/items/b", False), (None, False)):
            self.assertEqual(regexp(r"/v1/[^/]*/items", value), expected, value)

    def test_in_network(self) -> None:
        """The client of a UNIX socket has no address."""
        in_network = self.function("in_network")
        for address, network, expected in (
            ("10.0.3.4", "10.0.0.0/16", True),
            ("10.1.3.4", "10.0.0.0/16", False),
            ("2001:db8::1", "10.0.0.0/16", False),
            ("", "10.0.0.0/16", False),
        ):
            self.assertEqual(in_network(address, network), expected, address)
