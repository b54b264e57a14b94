"""Tests for L{egress.model.limit_key}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.decision import ClientIdentity
from egress.model.limit_key import limit_key


class LimitKeyTests(SynchronousTestCase):
    """Each client has one key."""

    def test_keys(self) -> None:
        for address, key in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
            ("::1", "::/64"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("fe80::1%eth0", "fe80::/64%eth0"),
            ("fe80::2%eth1", "fe80::/64%eth1"),
            ("unknown", "unknown"),
            ("", ""),
        ):
            with self.subTest(address):
                self.assertEqual(limit_key(address), key)

    def test_client(self) -> None:
        for address in ("2001:db8::1", "2001:db8::ffff:1"):
            self.assertEqual(ClientIdentity(address, 1).limit_key, "2001:db8::/64")
