"""Tests for L{egress.model.dns_server}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.dns_server import DnsServer, InvalidDnsServer


class DnsServerTests(SynchronousTestCase):
    """The text of a DNS server is parsed or rejected."""

    def test_parse(self) -> None:
        for text, expected in (
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("[2001:db8::53]:53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("2001:DB8::53", "[2001:db8::53]:53"),
        ):
            with self.subTest(text):
                self.assertEqual(str(DnsServer.parse(text)), expected)

    def test_rejected(self) -> None:
        for text in (
            *("", "dns.example", "dns.example:53", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:65536", "192.0.2.53:dns"),
            *("[192.0.2.53]:53", "[2001:db8::53", "2001:db8::53]:53", "[2001:db8::53]:0", "[]", "udp://192.0.2.53"),
        ):
            with self.subTest(text):
                self.assertRaises(InvalidDnsServer, DnsServer.parse, text)
