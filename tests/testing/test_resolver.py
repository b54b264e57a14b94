"""Tests for L{egress.testing.resolver}."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.trial.unittest import SynchronousTestCase

from egress.testing.resolver import FixedResolver


class Receiver:
    """Records a resolution."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.is_complete = False

    def resolutionBegan(self, resolution: object) -> None:
        pass

    def addressResolved(self, address: object) -> None:
        self.found.append(address)

    def resolutionComplete(self) -> None:
        self.is_complete = True


class FixedResolverTests(SynchronousTestCase):
    """The names in the table resolve, and no others."""

    def resolve(self, resolver: FixedResolver, name: str) -> list[Any]:
        receiver = Receiver()
        resolver.resolveHostName(receiver, name, 80)
        self.assertTrue(receiver.is_complete)
        return receiver.found

    def test_names(self) -> None:
        resolver = FixedResolver({"a.test": ["192.0.2.1", "2001:db8::1"]})
        expected = [IPv4Address("TCP", "192.0.2.1", 80), IPv6Address("TCP", "2001:db8::1", 80)]
        self.assertEqual(self.resolve(resolver, "a.test"), expected)
        self.assertEqual(self.resolve(resolver, "b.test"), [])
        resolver.names["b.test"] = ["192.0.2.2"]
        self.assertEqual(len(self.resolve(resolver, "b.test")), 1)
        self.assertEqual(resolver.queried, ["a.test", "b.test", "b.test"])
        self.assertEqual(self.resolve(FixedResolver(), "a.test"), [])
