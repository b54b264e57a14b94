"""Tests for L{egress.runtime.start_message}."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from egress import __version__
from egress.runtime.start_message import endpoint_of, facts_of


class StartMessageTests(SynchronousTestCase):
    """Facts in a column, and where something listens."""

    def test_facts(self) -> None:
        self.assertEqual(
            facts_of("program", [("a", "1"), ("listens on", "2")]),
            [f"program {__version__}", "  a           1", "  listens on  2", ""],
        )

    def test_endpoints(self) -> None:
        for address, text in (
            (IPv4Address("TCP", "127.0.0.1", 80), "127.0.0.1:80"),
            (IPv6Address("TCP", "::1", 80), "[::1]:80"),
            (UNIXAddress(b"/run/a.sock"), "unix:/run/a.sock"),
        ):
            with self.subTest(text):
                self.assertEqual(endpoint_of(address), text)
        self.assertIn("UNIXAddress", endpoint_of(UNIXAddress(None)))
