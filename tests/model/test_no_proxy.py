"""Tests for L{egress.model.no_proxy}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.errors import InvalidTarget
from egress.model.no_proxy import Bypass, HostPattern


class BypassTests(SynchronousTestCase):
    """C{NO_PROXY} in the forms that clients write."""

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
            ("192.168.*", "192.168.7.9:80", True),
            ("192.168.*", "192.169.0.1:80", False),
            ("192.168.*", "192.168.example.com:80", False),
            ("192.168.*.*", "192.168.7.9:80", True),
            ("10.*", "10.1.2.3:80", True),
            ("10.1.2.*", "10.1.2.3:80", True),
            ("10.1.2.*", "10.1.3.3:80", False),
            ("169.254/16", "169.254.169.254:80", True),
            ("169.254/16", "169.255.0.1:80", False),
            ("10/8", "10.1.2.3:80", True),
            ("172.16.0/20", "172.16.15.1:80", True),
            ("*example.com", "example.com:80", True),
            ("*example.com", "api.example.com:80", True),
            ("*example.com", "notexample.com:80", True),
            ("*Example.com.", "notexample.com:80", True),
            ("*example.com", "example.com.evil.test:80", False),
            ("*0.0.1", "127.0.0.1:80", False),
            ("foo-.example.com", "a.foo-.example.com:80", True),
            ("192.168.*,169.254/16,*example.com,foo-.example.com", "169.254.0.1:80", True),
        ):
            with self.subTest(text=text, authority=authority):
                self.assertEqual(Bypass.parse(text).matches(Authority.parse(authority)), expected)

    def test_address_has_no_subdomains(self) -> None:
        self.assertFalse(Bypass.parse("127.0.0.1").hosts[0].subdomains)
        self.assertTrue(Bypass.parse("example.com").hosts[0].subdomains)

    def test_rejected(self) -> None:
        for text in (
            *("10.0.0.0/99", "not a host", "example.com:port", "a:b:c", "10.0.0/33", "01.2/16", "256.*", "10.*.3"),
            *("10.1.2.*.*", "1.2.3.4.*", "*.*", "**", "a*.example.com", "a.*", "*:8080", "http://a.test", "a.test/"),
        ):
            with self.subTest(text):
                self.assertRaises(InvalidTarget, Bypass.parse, text)

    def test_errors_do_not_quote_the_input(self) -> None:
        for text in ("http://hunter2@a.test", "hunter2/8", "hunter2..b", "*hunter2..", "hunter2:x", "x:hunter2:y"):
            with self.subTest(text):
                self.assertNotIn("hunter2", self.assertRaises(InvalidTarget, Bypass.parse, text).reason)


class HostPatternTests(SynchronousTestCase):
    """Host patterns without the suffix rule of C{NO_PROXY}."""

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

    def test_rejected(self) -> None:
        for text in ("*example.com", "", "*.", "a..b", "a:b"):
            with self.subTest(text):
                self.assertRaises(InvalidTarget, HostPattern.parse, text, suffix=False)
