"""Tests for L{egress.model.target}."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import DEFAULT_PORTS, Authority
from egress.model.errors import InvalidTarget
from egress.model.target import RequestTarget, TargetForm, parse_request_target

HOST = Authority("example.com", 80)
ABSOLUTE, ORIGIN, ASTERISK = TargetForm.ABSOLUTE, TargetForm.ORIGIN, TargetForm.ASTERISK

UNDERSTOOD = {
    "origin-form": ("GET", b"/a?b=c", RequestTarget(ORIGIN, "/a?b=c")),
    "path that looks like an authority": ("GET", b"//evil/path", RequestTarget(ORIGIN, "//evil/path")),
    "UTF-8": ("GET", "/ä".encode(), RequestTarget(ORIGIN, "/ä")),
    "encoded bytes are kept": ("GET", b"/%2e%2E/%ff", RequestTarget(ORIGIN, "/%2e%2E/%ff")),
    "absolute-form": ("GET", b"http://EXAMPLE.com/a?b", RequestTarget(ABSOLUTE, "/a?b", "http", HOST)),
    "upper-case scheme": ("GET", b"HTTP://example.com/", RequestTarget(ABSOLUTE, "/", "http", HOST)),
    "no path": ("GET", b"http://example.com", RequestTarget(ABSOLUTE, "/", "http", HOST)),
    "query without path": ("GET", b"http://example.com?a", RequestTarget(ABSOLUTE, "/?a", "http", HOST)),
    "IPv6": ("GET", b"http://[::1]:8080/", RequestTarget(ABSOLUTE, "/", "http", Authority("::1", 8080))),
    "empty port": ("GET", b"http://example.com:/", RequestTarget(ABSOLUTE, "/", "http", HOST)),
    "numeric host": ("GET", b"http://0x7f.1/", RequestTarget(ABSOLUTE, "/", "http", Authority("127.0.0.1", 80))),
    "at sign behind the authority": (
        "GET",
        b"http://example.com?b@evil",
        RequestTarget(ABSOLUTE, "/?b@evil", "http", HOST),
    ),
    "URL in a query": ("GET", b"/?http://evil/", RequestTarget(ORIGIN, "/?http://evil/")),
    "OPTIONS with a query but no path": (
        "OPTIONS",
        b"http://example.com?a",
        RequestTarget(ABSOLUTE, "/?a", "http", HOST),
    ),
    "OPTIONS without path": ("OPTIONS", b"http://example.com", RequestTarget(ABSOLUTE, "*", "http", HOST)),
    "asterisk-form": ("OPTIONS", b"*", RequestTarget(ASTERISK, "*")),
    "authority-form": (
        "CONNECT",
        b"example.com:443",
        RequestTarget(TargetForm.AUTHORITY, "", authority=Authority("example.com", 443)),
    ),
}

REFUSED = {
    "empty": ("GET", b""),
    "not UTF-8": ("GET", b"/\xff"),
    "control character": ("GET", b"/\x01"),
    "delete": ("GET", b"/\x7f"),
    "backslash": ("GET", b"/a\\b"),
    "fragment": ("GET", b"/a#b"),
    "asterisk for a GET": ("GET", b"*"),
    "neither path nor URL": ("GET", b"example.com"),
    "https in clear text": ("GET", b"https://example.com/"),
    "another scheme": ("GET", b"ftp://example.com/"),
    "userinfo": ("GET", b"http://user:secret@example.com/"),
    "no host": ("GET", b"http:///path"),
    "two ports": ("GET", b"http://example.com:80:80/"),
    "one slash": ("GET", b"http:/path"),
    "no slash": ("GET", b"http:path"),
    "WebSocket URL": ("GET", b"ws://example.com/"),
    "userinfo without a password": ("GET", b"http://user@example.com/"),
    "open bracket": ("GET", b"http://[::1/"),
    "list of hosts": ("GET", b"http://example.com,evil.test/"),
    "percent-encoded null in the host": ("GET", b"http://example.com%00/"),
    "asterisk with a query": ("OPTIONS", b"*?a"),
    "overlong UTF-8": ("GET", b"/\xc0\xaf"),
    "surrogate in UTF-8": ("GET", b"/\xed\xa0\x80"),
    "space": ("GET", b"/a b"),
    "host without end": ("GET", b"http://" + b"1" * 5000 + b"/"),
    "CONNECT with a path": ("CONNECT", b"example.com:443/"),
    "CONNECT with a query": ("CONNECT", b"example.com:443?a"),
    "CONNECT to the asterisk": ("CONNECT", b"*"),
    "CONNECT with userinfo": ("CONNECT", b"user@example.com:443"),
    "CONNECT without port": ("CONNECT", b"example.com"),
    "CONNECT to a path": ("CONNECT", b"/"),
    "CONNECT to a URL": ("CONNECT", b"http://example.com/"),
}


class RequestTargetTests(SynchronousTestCase):
    """The four forms, and nothing else."""

    def test_understood(self) -> None:
        for name, (method, raw, expected) in UNDERSTOOD.items():
            with self.subTest(name):
                self.assertEqual(parse_request_target(method, raw), expected)

    def test_refused(self) -> None:
        for name, (method, raw) in REFUSED.items():
            with self.subTest(name):
                self.assertRaises(InvalidTarget, parse_request_target, method, raw)

    def test_a_tunnel_takes_https_too(self) -> None:
        expected = RequestTarget(TargetForm.ABSOLUTE, "/a", "https", Authority("example.com", 443))
        self.assertEqual(parse_request_target("GET", b"HTTPS://example.com/a", DEFAULT_PORTS), expected)
        self.assertRaises(InvalidTarget, parse_request_target, "GET", b"ftp://example.com/", DEFAULT_PORTS)

    def test_a_refusal_keeps_the_credentials_to_itself(self) -> None:
        error = self.assertRaises(InvalidTarget, parse_request_target, "GET", b"http://user:secret@example.com/")
        self.assertNotIn("secret", error.reason)

    @given(
        st.sampled_from(["GET", "OPTIONS", "CONNECT"]),
        st.one_of(
            st.binary(max_size=40),
            st.lists(
                st.sampled_from(
                    [
                        b"http",
                        b"https",
                        b":",
                        b"//",
                        b"/",
                        b"@",
                        b"?",
                        b"#",
                        b"*",
                        b"[::1]",
                        b"a.test",
                        b"80",
                        b"\xc3\xa4",
                    ]
                ),
                max_size=9,
            ).map(b"".join),
        ),
    )
    def test_anything_else_is_refused(self, method: str, raw: bytes) -> None:
        try:
            target = parse_request_target(method, raw)
        except InvalidTarget:
            return
        self.assertEqual(target.authority is not None, target.form in (ABSOLUTE, TargetForm.AUTHORITY))
        self.assertEqual(target.form is TargetForm.AUTHORITY, method == "CONNECT")
        # What is sent on is the end of what came, but for the path that a URL may leave out.
        self.assertTrue(raw.endswith(target.path.encode().removeprefix(b"/")) or target.path == "*")
        self.assertTrue(target.path.startswith("/") or target.path in ("*", ""))
