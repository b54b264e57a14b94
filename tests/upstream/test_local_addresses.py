"""Tests for L{egress.upstream.local_addresses}."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from egress.upstream.local_addresses import is_local_address


class IsLocalAddressTests(SynchronousTestCase):
    """An address is ours when a socket can be bound to it."""

    def test_loopback_is_local(self) -> None:
        self.assertTrue(is_local_address(ip_address("127.0.0.1")))

    def test_documentation_addresses_are_not(self) -> None:
        # RFC 5737 and RFC 3849: no machine has these.
        for text in ("192.0.2.1", "2001:db8::1"):
            with self.subTest(text):
                self.assertFalse(is_local_address(ip_address(text)))
