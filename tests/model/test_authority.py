"""Tests for L{egress.model.authority}."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from base64 import b64encode
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority, Origin, UpstreamHop, UpstreamProxy, normalize_host, parse_ip
from egress.model.converters import ConfigError
from egress.model.errors import InvalidTarget

OTHER, THIRD = Authority("other.test", 1080), Authority("third.test", 3128)
LONGEST = f"{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 61}"

NORMALIZED = {
    "upper case": ("Example.COM:443", "example.com:443"),
    "root dot": ("example.com.:80", "example.com:80"),
    "underscore": ("_dmarc.exa_mple.com:80", "_dmarc.exa_mple.com:80"),
    "hyphens in the middle": ("r3---sn-x.example.com:80", "r3---sn-x.example.com:80"),
    "label begins with a hyphen": ("-a.example:80", "-a.example:80"),
    "label ends with a hyphen": ("API-.example:80", "api-.example:80"),
    "label of a hyphen alone": ("-:80", "-:80"),
    "hyphens and underscores beside an internationalized label": (
        "-a_.r3---x-.bücher.example.:80",
        "-a_.r3---x-.xn--bcher-kva.example:80",
    ),
    "internationalized": ("bücher.example:80", "xn--bcher-kva.example:80"),
    "A-label": ("XN--BCHER-KVA.example:80", "xn--bcher-kva.example:80"),
    "ideographic full stop": ("example。com:80", "example.com:80"),
    "fullwidth letters": ("ｅｘａｍｐｌｅ.com:80", "example.com:80"),
    "letters in circles": ("ⓔxample.com:80", "example.com:80"),
    "soft hyphen": ("exam\xadple.com:80", "example.com:80"),
    "sharp s": ("faß.example:80", "xn--fa-hia.example:80"),
    "capital sharp s": ("FAẞ.example:80", "xn--fa-hia.example:80"),
    "name as long as names get": (f"{LONGEST}.:80", f"{LONGEST}:80"),
    "port with leading zeros": ("example.com:00080", "example.com:80"),
    "fullwidth digits": ("１２７.0.0.1:80", "127.0.0.1:80"),
    "digits in circles": ("①②⑦.0.0.1:80", "127.0.0.1:80"),
    "ideographic full stops in an address": ("127。0。0。1:80", "127.0.0.1:80"),
    "short IPv4": ("127.1:80", "127.0.0.1:80"),
    "two parts": ("10.65535:80", "10.0.255.255:80"),
    "three parts": ("10.1.257:80", "10.1.1.1:80"),
    "decimal IPv4": ("2130706433:80", "127.0.0.1:80"),
    "hexadecimal IPv4": ("0x7f.0.0.0x1:80", "127.0.0.1:80"),
    "bare 0x is zero": ("127.0.0.0x:80", "127.0.0.0:80"),
    "octal IPv4": ("0177.0.0.01:80", "127.0.0.1:80"),
    "IPv4 with root dot": ("127.0.0.1.:80", "127.0.0.1:80"),
    "IPv6": ("[2001:DB8:0:0::1]:443", "[2001:db8::1]:443"),
    "IPv4-mapped": ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
    "IPv4-mapped in hexadecimal": ("[::ffff:7f00:1]:80", "127.0.0.1:80"),
}

REFUSED = {
    "empty": "",
    "no port": "example.com",
    "empty port": "example.com:",
    "port zero": "example.com:0",
    "port too large": "example.com:65536",
    "port with a sign": "example.com:+80",
    "port in other digits": "example.com:８０",
    "two ports": "example.com:80:80",
    "userinfo": "user@example.com:80",
    "empty host": ":80",
    "only a dot": ".:80",
    "empty label": "a..b:80",
    "label too long": "a" * 64 + ".example:80",
    "name too long": ".".join(["a" * 60] * 5) + ":80",
    "space": "exa mple.com:80",
    "percent-encoding": "ex%61mple.com:80",
    "slash": "example.com/:80",
    "null": "example.com\x00:80",
    "line feed": "example.com\n:80",
    "five parts": "1.2.3.4.5:80",
    "part over 255": "256.0.0.1:80",
    "last part too large": "1.2.3.256:80",
    "number too large": "4294967296:80",
    "no octal digit": "0.0.0.08:80",
    "name before a number": "example.1:80",
    "hyphen at the end of an internationalized label": "bücher-.example:80",
    "underscore in an internationalized label": "bü_cher.example:80",
    "IPv6 without brackets": "::1:80",
    "IPv6 with a zone": "[fe80::1%eth0]:80",
    "broken IPv6": "[::1::]:80",
    "IPv4 in brackets": "[127.0.0.1]:80",
    "text behind the brackets": "[::1]x:80",
    "open bracket": "[::1:80",
    "not a valid A-label": "\ud800.example:80",
    "forbidden character": "bü\u2028cher.example:80",
    "joiner that joins nothing": "a\u200db.example:80",
    "fullwidth colon": "example.com：80",
    "fullwidth slash": "example.com／x:80",
    "account of": "℀.example:80",
    "three dots in one character": "a…example:80",
    "two full stops of two kinds": "example。.com:80",
    "digits without end": "1" * 5000 + ":80",
    "soft hyphens without end": "a" + "\xad" * 300 + ".example:80",
    "a list": "example.com, evil.test:80",
    "userinfo, percent-encoded": "user%40example.com:80",
    "two authorities": "example.com:80@evil.test:80",
    "fullwidth digits in IPv6": "[::１]:80",
    "port of six digits": "example.com:000080",
}


class AuthorityTests(SynchronousTestCase):
    """Each destination has one spelling."""

    def test_normalized(self) -> None:
        for name, (text, expected) in NORMALIZED.items():
            with self.subTest(name):
                self.assertEqual(str(Authority.parse(text)), expected)

    def test_rejected(self) -> None:
        for name, text in REFUSED.items():
            with self.subTest(name):
                self.assertRaises(InvalidTarget, Authority.parse, text)

    def test_default_port(self) -> None:
        self.assertEqual(Authority.parse("example.com", 80), Authority("example.com", 80))
        self.assertEqual(Authority.parse("example.com:", 80), Authority("example.com", 80))
        self.assertEqual(Authority.parse("[::1]", 443), Authority("::1", 443))

    def test_ipv6_address_without_brackets(self) -> None:
        for text, expected in (
            ("::1:443", "[::1]:443"),
            ("2001:db8::1:8443", "[2001:db8::1]:8443"),
            ("::ffff:127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:443", "[::1]:443"),
            ("example.com:443", "example.com:443"),
        ):
            for default in (None, 443):
                with self.subTest(text, default=default):
                    self.assertEqual(str(Authority.parse(text, default, bare_ipv6=True)), expected)
        for text in ("::1", "fe80::1%eth0:443", "::1:", "a:b:443", "::1:0", "::1:65536", "1:443:", "::1]:443"):
            for default in (None, 443):
                with self.subTest(text, default=default):
                    self.assertRaises(InvalidTarget, Authority.parse, text, default, bare_ipv6=True)
        self.assertRaises(InvalidTarget, Authority.parse, "::1:443")

    def test_errors_do_not_quote_the_input(self) -> None:
        for name, text in REFUSED.items():
            with self.subTest(name):
                for marked in (f"hunter2{text}", f"{text}hunter2", text.replace("example", "hunter2")):
                    try:
                        Authority.parse(marked)
                    except InvalidTarget as error:
                        self.assertNotIn("hunter2", error.reason)

    @given(
        st.one_of(
            st.text(max_size=30),
            st.lists(
                st.sampled_from(
                    [
                        "a",
                        "b-c",
                        "xn--",
                        "bücher",
                        "ß",
                        "\xad",
                        "0x7f",
                        "127",
                        "0",
                        "08",
                        "1",
                        "。",
                        "．",
                        ".",
                        "-",
                        "_",
                    ]
                ),
                max_size=8,
            ).map("".join),
        )
    )
    def test_normalization_is_idempotent(self, text: str) -> None:
        try:
            once = Authority.parse(text, 80)
        except InvalidTarget:
            return
        self.assertEqual(Authority.parse(str(once)), once)
        if once.ip is None:
            self.assertRegex(once.host, r"\A[a-z0-9_.-]{1,253}\Z")

    @given(st.ip_addresses(), st.integers(1, 65535))
    def test_formatted_address_parses_to_itself(self, address: object, port: int) -> None:
        once = Authority.parse(f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}")
        self.assertEqual(Authority.parse(str(once)), once)

    @given(st.integers(0, 2**32 - 1))
    def test_every_spelling_of_an_ipv4_address(self, number: int) -> None:
        expected = str(ip_address(number))
        parts = expected.split(".")
        spellings = [
            str(number),
            hex(number),
            f"0{number:o}",
            ".".join(f"0x{int(part):x}" for part in parts),
            ".".join(f"0{int(part):o}" for part in parts),
            f"[::ffff:{expected}]",
        ]
        for spelling in spellings:
            self.assertEqual(normalize_host(spelling), expected, spelling)

    def test_ipv6_host_requires_brackets(self) -> None:
        for text in ("::1", "[::1", "::1]"):
            with self.subTest(text):
                self.assertRaises(InvalidTarget, normalize_host, text)

    def test_ip(self) -> None:
        self.assertEqual(Authority("127.0.0.1", 80).ip, ip_address("127.0.0.1"))
        self.assertEqual(Authority("::1", 80).ip, ip_address("::1"))
        self.assertIsNone(Authority("example.com", 80).ip)
        self.assertIsNone(parse_ip("not:an:address"))


class PickleTests(SynchronousTestCase):
    """A worker gets authorities and origins of its supervisor."""

    def test_hashes(self) -> None:
        """Another process has other hashes of text, and finds the objects nevertheless."""
        authority = Authority("origin.test", 80)
        for known in (authority, Origin("http", authority)):
            code = f"import pickle; print(hash(pickle.loads({pickle.dumps(known)!r})))"
            made = f"from egress.model.authority import *; print(hash({known!r}))"
            environment = {**os.environ, "PYTHONHASHSEED": "7"}
            hashes = [
                subprocess.run(
                    [sys.executable, "-c", each], capture_output=True, text=True, check=True, env=environment
                ).stdout
                for each in (code, made)
            ]
            self.assertEqual(hashes[0], hashes[1])


class OriginTests(SynchronousTestCase):
    """Origins omit the default port of their scheme."""

    def test_host_field_of_the_client(self) -> None:
        secure = Origin("https", Authority("example.com", 443))
        for origin, sent, expected in (
            (secure, None, b"example.com"),
            (secure, b"example.com", b"example.com"),
            (secure, b"Example.COM:443", b"Example.COM:443"),
            (secure, b"example.com.", b"example.com."),
            (secure, b"example.com.:443", b"example.com.:443"),
            (secure, b"example.com:0443", b"example.com"),
            (secure, b"example.com:", b"example.com"),
            (secure, b"example.com:80", b"example.com"),
            (secure, b"other.test", b"example.com"),
            (secure, b"\xff", b"example.com"),
            (secure, b"", b"example.com"),
            (secure, b"example.com..", b"example.com"),
            (Origin("http", Authority("example.com", 443)), b"example.com", b"example.com:443"),
            (Origin("http", Authority("example.com", 443)), b"EXAMPLE.com:443", b"EXAMPLE.com:443"),
            (Origin("http", Authority("127.0.0.1", 80)), b"127.0.0.1:80", b"127.0.0.1:80"),
            (Origin("http", Authority("127.0.0.1", 80)), b"127.0.0.1.", b"127.0.0.1"),
            (Origin("http", Authority("127.0.0.1", 80)), b"0x7f.1", b"127.0.0.1"),
            (Origin("http", Authority("::1", 80)), b"[::1]:80", b"[::1]:80"),
            (Origin("http", Authority("::1", 80)), b"::1:80", b"[::1]"),
            (Origin("http", Authority("2001:db8::1", 80)), b"[2001:DB8::1]", b"[2001:DB8::1]"),
            (Origin("http", Authority("2001:db8::1", 80)), b"[2001:db8:0::1]", b"[2001:db8::1]"),
        ):
            with self.subTest(origin, sent=sent):
                self.assertEqual(origin.host_as(sent), expected)

    def test_netloc(self) -> None:
        for scheme, authority, expected in (
            ("http", Authority("example.com", 80), "example.com"),
            ("https", Authority("example.com", 80), "example.com:80"),
            ("https", Authority("::1", 443), "[::1]"),
            ("https", Authority("::1", 8443), "[::1]:8443"),
        ):
            with self.subTest(expected):
                origin = Origin(scheme, authority)
                self.assertEqual(origin.netloc, expected)
                self.assertEqual(str(origin), f"{scheme}://{expected}")


class UpstreamProxyTests(SynchronousTestCase):
    """Credentials are validated, and do not appear in texts."""

    def test_rejected(self) -> None:
        """Invalid values are rejected; a line break in the credentials would inject a header field."""
        authority = Authority("proxy.test", 3128)
        for name, arguments in (
            ("scheme", ("socks4", authority)),
            ("authority", ("http", "proxy.test:3128")),
            ("authorization", ("http", authority, "Basic c2VjcmV0")),
            ("authorization", ("http", authority, b"Basic c2VjcmV0\r\nHost: a.test")),
            ("authorization", ("http", authority, b"")),
            ("authorization", ("socks5", authority, b"Bearer c2VjcmV0")),
            ("authorization", ("socks5h", authority, b"Basic !")),
            ("authorization", ("socks5h", authority, b"Basic " + b64encode(b":x"))),
            ("authorization", ("socks5h", authority, b"Basic " + b64encode(b"x:" + b"y" * 256))),
            ("via", ("http", authority, None, UpstreamHop("socks5", authority))),
            ("via", ("http", authority, None, UpstreamProxy("http", OTHER, None, UpstreamHop("http", THIRD)))),
        ):
            with self.subTest(arguments):
                error = self.assertRaises(ConfigError, UpstreamProxy, *arguments)
                self.assertEqual(error.option, name)
                self.assertNotIn("c2VjcmV0", str(error))

    def test_no_secret_in_text(self) -> None:
        upstream = UpstreamProxy("http", Authority("proxy.test", 3128), b"Basic c2VjcmV0")
        self.assertEqual(str(upstream), "http://proxy.test:3128")
        self.assertNotIn("c2VjcmV0", repr(upstream))
        chain = UpstreamProxy("socks5h", OTHER, b"Basic " + b64encode(b"a:s3cret"), upstream)
        self.assertEqual(str(chain), "socks5h://other.test:1080 via http://proxy.test:3128")
        self.assertNotIn("c2VjcmV0", repr(chain) + str(chain))
        self.assertNotIn(chain.authorization.decode() if chain.authorization else "", repr(chain))

    def test_hops(self) -> None:
        first = UpstreamHop("http", THIRD)
        alone, chain = UpstreamProxy("https", OTHER), UpstreamProxy("socks5", OTHER, None, first)
        self.assertEqual((alone.hops, chain.hops), ((alone,), (first, chain)))
        self.assertEqual([each.is_socks for each in (alone, chain)], [False, True])
        self.assertEqual(
            [UpstreamHop(scheme, OTHER).resolves_names for scheme in ("http", "https", "socks5h", "socks5")],
            [True, True, True, False],
        )

    def test_login(self) -> None:
        for authorization, expected in (
            (None, None),
            (b"Bearer c2VjcmV0", None),
            (b"Basic !", None),
            (b"basic " + b64encode(b"a:b:c"), (b"a", b"b:c")),
        ):
            self.assertEqual(UpstreamHop("http", OTHER, authorization).login, expected)
