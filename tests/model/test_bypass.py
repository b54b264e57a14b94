"""Tests for L{egress.model.bypass}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.bypass import Bypass, HostPattern
from egress.model.errors import InvalidTarget


class BypassTests(SynchronousTestCase):
    """C{NO_PROXY}, as clients write it."""

    def test_matches(self) -> None:
        for text, authority, expected in (
            ("", "example.com:80", False),
            (" , ,", "example.com:80", False),
            ("*", "example.com:80", True),
            ("example.com", "example.com:80", True),
            ("EXAMPLE.com.", "example.com:80", True),
            ("example.com", "api.example.com:80", True),
            ("example.com", "notexample.com:80", False),
            (".example.com", "api.example.com:80", True),
            ("*.example.com", "example.com:80", True),
            ("example.com:8080", "example.com:8080", True),
            ("example.com:8080", "api.example.com:80", False),
            ("other.test, example.com", "example.com:80", True),
            ("127.0.0.1", "127.0.0.1:80", True),
            ("0.0.1", "127.0.0.1:80", False),
            ("10.0.0.0/8", "10.1.2.3:80", True),
            ("10.1.2.3/8", "10.9.9.9:80", True),
            ("10.0.0.0/8", "11.1.2.3:80", False),
            ("10.0.0.0/8", "ten.example.com:80", False),
            ("::1", "[::1]:80", True),
            ("[::1]:80", "[::1]:80", True),
            ("[::1]:80", "[::1]:81", False),
            ("fd00::/8", "[fd00::1]:80", True),
        ):
            with self.subTest(text=text, authority=authority):
                self.assertEqual(Bypass.parse(text).matches(Authority.parse(authority)), expected)

    def test_nothing_is_below_an_address(self) -> None:
        self.assertFalse(Bypass.parse("127.0.0.1").hosts[0].subdomains)
        self.assertTrue(Bypass.parse("example.com").hosts[0].subdomains)

    def test_refused(self) -> None:
        for text in ("10.0.0.0/99", "not a host", "*example.com", "example.com:port", "a:b:c"):
            with self.subTest(text):
                self.assertRaises(InvalidTarget, Bypass.parse, text)


class HostPatternTests(SynchronousTestCase):
    """Patterns without the reach of C{NO_PROXY}."""

    def test_matches(self) -> None:
        for text, host, expected in (
            ("example.com", "example.com", True),
            ("example.com", "api.example.com", False),
            (".example.com", "api.example.com", True),
            (".example.com", "example.com", False),
            ("*.example.com", "a.b.example.com", True),
            ("example.com:443", "example.com", True),
            ("example.com:8443", "example.com", False),
        ):
            with self.subTest(text=text, host=host):
                pattern = HostPattern.parse(text, suffix=False)
                self.assertEqual(pattern.matches(Authority(host, 443)), expected)
