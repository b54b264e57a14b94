"""Tests for L{egress.policy.match.hosts}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.model.errors import InvalidTarget
from egress.policy.match.hosts import compile_host, matches_addresses


class HostTests(SynchronousTestCase):
    """Host patterns."""

    # pattern: (hosts that match, hosts that do not match)
    CASES: dict[str, tuple[list[str], list[str]]] = {
        "*": (["example.com", "db", "10.0.0.1", "[::1]"], []),
        "example.com": (["example.com", "EXAMPLE.com.", "example.com:8443"], ["a.example.com", "example.org", "com"]),
        "Example.COM.": (["example.com"], ["example.org"]),
        "*.example.com": (
            ["a.example.com", "a.b.example.com"],
            ["example.com", "aexample.com", "example.com.evil.org"],
        ),
        ".example.com": (["a.example.com"], ["example.com"]),
        "example.com:8443": (["example.com:8443"], ["example.com:443"]),
        "*.example.com:8443": (["a.example.com:8443"], ["a.example.com:443", "example.com:8443"]),
        "bücher.example": (["xn--bcher-kva.example", "bücher.example"], ["bucher.example"]),
        "XN--bcher-KVA.example.": (["BÜCHER.example", "bücher.example."], ["a.bücher.example"]),
        "*.bücher.example.": (["a.xn--bcher-kva.example", "ä.Bücher.example."], ["bücher.example"]),
        # Expressions match the normalized host: A-labels, without a trailing dot.
        r"re:xn--bcher-[a-z]+[.]example": (["bücher.example", "BÜCHER.EXAMPLE."], ["bucher.example"]),
        r"re:.*ü.*": ([], ["bücher.example"]),
        r"re:a[.]example[.]": ([], ["a.example", "a.example."]),
        "localhost": (["localhost"], ["a.localhost", "127.0.0.1"]),
        "10.0.0.1": (["10.0.0.1", "0x0a000001", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]"], ["10.0.0.2", "a.10.example"]),
        "10.0.0.1:81": (["10.0.0.1:81", "[2002:a00:1::]:81"], ["10.0.0.1:80"]),
        "2001:db8::1": (["[2001:db8::1]", "[2001:DB8:0::1]"], ["[2001:db8::2]"]),
        "[2001:db8::1]": (["[2001:db8::1]"], ["[2001:db8::2]"]),
        "[2001:db8::1]:81": (["[2001:db8::1]:81"], ["[2001:db8::1]"]),
        "10.0.0.0/8": (["10.1.2.3", "[64:ff9b::a01:203]", "[::ffff:10.1.2.3]"], ["11.0.0.1", "ten.example", "[::1]"]),
        "2001:db8::/32": (["[2001:db8:1::1]"], ["[2001:db9::1]", "10.0.0.1"]),
        "0.0.0.0/0": (["8.8.8.8", "[2002:808:808::1]"], ["[2001:db8::1]", "example.com"]),
        "private": (
            ["10.0.0.1", "[fd00::1]", "100.64.1.1", "[64:ff9b::c0a8:1]"],
            ["8.8.8.8", "private", "db.internal"],
        ),
        r"re:api[0-9]+\.Example\.com": (
            ["api1.example.com", "API22.example.com:81"],
            ["api.example.com", "api1xexample.com", "api1.example.com.evil.org", "xapi1.example.com"],
        ),
        "single-label": (["db", "localhost"], ["example.com", "10.0.0.1", "[::1]", "[fd00::1]"]),
    }

    def test_cases(self) -> None:
        for pattern, (matching, others) in self.CASES.items():
            matches = compile_host(pattern)
            for text in matching + others:
                with self.subTest(pattern, host=text):
                    self.assertIs(matches(Authority.parse(text, 80)), text in matching)

    REJECTED = {
        "": "empty",
        "*example.com": "*.example.com",
        "**": "*.example.com",
        "api-*.example.com": "host name",
        "*.*.example.com": "host name",
        "exa mple.com": "host name",
        "*.": "empty",
        "*.10.0.0.1": "range",
        ".10.0.0.1": "range",
        "300.0.0.1": "range",
        "example.com:0": "port",
        "http://example.com": "no scheme and no path",
        "example.com/x": "no scheme and no path",
        "10.0.0.1/8": "host bits set",
        "10.0.0.0/33": "range",
        "::ffff:10.0.0.0/104": "IPv4 range",
        "user@example.com": "credentials",
        "2001:db8::1::2": "IPv6",
        "re:(": "regular expression",
    }

    def test_rejected(self) -> None:
        for pattern, word in self.REJECTED.items():
            with self.subTest(pattern):
                with self.assertRaises((ValueError, InvalidTarget)) as caught:
                    compile_host(pattern)
                self.assertIn(word, str(caught.exception))

    def test_addresses(self) -> None:
        """Patterns for addresses are enforced in observe mode, too."""
        for pattern in ("10.0.0.1", "10.0.0.0/8", "private", "::1"):
            self.assertTrue(matches_addresses(compile_host(pattern)), pattern)
        for pattern in ("*", "a.test", "*.a.test", "single-label", "re:10.*"):
            self.assertFalse(matches_addresses(compile_host(pattern)), pattern)
