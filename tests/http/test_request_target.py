"""Tests for L{egress.http.request_target}."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.http.request_target import RequestTarget, TargetForm, parse_request_target
from egress.model.authority import DEFAULT_PORTS, Authority
from egress.model.errors import InvalidTarget

HOST = Authority("example.com", 80)
ABSOLUTE, ORIGIN, ASTERISK = TargetForm.ABSOLUTE, TargetForm.ORIGIN, TargetForm.ASTERISK

UNDERSTOOD = {
    "origin-form": ("GET", b"/a?b=c", RequestTarget(ORIGIN, "/a?b=c")),
    "path that looks like an authority": ("GET", b"//evil/path", RequestTarget(ORIGIN, "//evil/path")),
    "UTF-8": ("GET", "/ä".encode(), RequestTarget(ORIGIN, "/ä")),
    "not UTF-8": ("GET", b"/\xff/a%ff", RequestTarget(ORIGIN, "/%FF/a%ff")),
    "overlong UTF-8": ("GET", b"/\xc0\xaf", RequestTarget(ORIGIN, "/%C0%AF")),
    "surrogate in UTF-8": ("GET", b"/\xed\xa0\x80", RequestTarget(ORIGIN, "/%ED%A0%80")),
    "what RFC 3986 has not": ("GET", b'/\\d"<>^`{|}', RequestTarget(ORIGIN, '/\\d"<>^`{|}')),
    "backslash behind the authority": (
        "GET",
        b"http://example.com/\\@evil.test/",
        RequestTarget(ABSOLUTE, "/\\@evil.test/", "http", HOST),
    ),
    "userinfo": ("GET", b"http://user:secret@example.com/", RequestTarget(ABSOLUTE, "/", "http", HOST)),
    "userinfo without a password": ("GET", b"http://user@example.com", RequestTarget(ABSOLUTE, "/", "http", HOST)),
    "userinfo with at signs": ("GET", b"http://a.test@b@example.com/@c", RequestTarget(ABSOLUTE, "/@c", "http", HOST)),
    "userinfo that is not UTF-8": ("GET", b"http://\xff:\xfe@example.com/", RequestTarget(ABSOLUTE, "/", "http", HOST)),
    "WebSocket URL": ("GET", b"WS://example.com/a", RequestTarget(ABSOLUTE, "/a", "http", HOST)),
    "CONNECT to an IPv6 address without brackets": (
        "CONNECT",
        b"::1:443",
        RequestTarget(TargetForm.AUTHORITY, "", authority=Authority("::1", 443)),
    ),
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
    "control character": ("GET", b"/\x01"),
    "delete": ("GET", b"/\x7f"),
    "backslash in the authority": ("GET", b"http://example.com\\@evil.test/"),
    "backslash for a slash": ("GET", b"http:\\\\example.com/"),
    "backslash in a host": ("CONNECT", b"example.com\\a:443"),
    "host that is not UTF-8": ("GET", b"http://\xff.example/"),
    "host of a CONNECT that is not UTF-8": ("CONNECT", b"\xff.example:443"),
    "space in userinfo": ("GET", b"http://a b@example.com/"),
    "wss in clear text": ("GET", b"wss://example.com/"),
    "slash in a password": ("GET", b"http://user:pass/word@example.com/"),
    "question mark in a password": ("GET", b"http://user:pass?word@example.com/"),
    "number sign in a password": ("GET", b"http://user:pass#word@example.com/"),
    "IPv6 without brackets in a URL": ("GET", b"http://::1:80/"),
    "IPv6 without brackets and port": ("CONNECT", b"fe80::1%eth0"),
    "fragment": ("GET", b"/a#b"),
    "asterisk for a GET": ("GET", b"*"),
    "neither path nor URL": ("GET", b"example.com"),
    "https in clear text": ("GET", b"https://example.com/"),
    "another scheme": ("GET", b"ftp://example.com/"),
    "no host": ("GET", b"http:///path"),
    "two ports": ("GET", b"http://example.com:80:80/"),
    "one slash": ("GET", b"http:/path"),
    "no slash": ("GET", b"http:path"),
    "userinfo without a host": ("GET", b"http://user@/"),
    "open bracket": ("GET", b"http://[::1/"),
    "list of hosts": ("GET", b"http://example.com,evil.test/"),
    "percent-encoded null in the host": ("GET", b"http://example.com%00/"),
    "asterisk with a query": ("OPTIONS", b"*?a"),
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
    """The four forms of a request-target."""

    def test_valid(self) -> None:
        for name, (method, raw, expected) in UNDERSTOOD.items():
            with self.subTest(name):
                self.assertEqual(parse_request_target(method, raw), expected)

    def test_invalid(self) -> None:
        for name, (method, raw) in REFUSED.items():
            with self.subTest(name):
                self.assertRaises(InvalidTarget, parse_request_target, method, raw)

    def test_https_urls_are_valid_in_a_tunnel(self) -> None:
        expected = RequestTarget(TargetForm.ABSOLUTE, "/a", "https", Authority("example.com", 443))
        self.assertEqual(parse_request_target("GET", b"HTTPS://example.com/a", DEFAULT_PORTS), expected)
        self.assertRaises(InvalidTarget, parse_request_target, "GET", b"ftp://example.com/", DEFAULT_PORTS)

        secure = RequestTarget(TargetForm.ABSOLUTE, "/a", "https", Authority("example.com", 443))
        self.assertEqual(parse_request_target("GET", b"wss://u:p@example.com/a", DEFAULT_PORTS), secure)

    def test_path_and_query_are_unchanged(self) -> None:
        for raw, sent in (
            (b"/\xff?\xfe", b"/\xff?\xfe"),
            (b"http://u@example.com/\xff", b"/\xff"),
            (b"http://example.com?\xff", b"/?\xff"),
            (b"http://example.com", b"/"),
            ("/ä".encode(), "/ä".encode()),
        ):
            with self.subTest(raw):
                self.assertEqual(parse_request_target("GET", raw).sent, sent)
        self.assertEqual(parse_request_target("OPTIONS", b"http://example.com").sent, b"*")
        self.assertEqual(RequestTarget(ORIGIN, "/ä").sent, "/ä".encode())

    def test_equivalent_spellings_are_rejected_in_canonical_form(self) -> None:
        for raw in (b"http://user:secret@example.com/", b"ws://example.com/", b"http://@example.com/"):
            with self.subTest(raw):
                self.assertRaises(InvalidTarget, parse_request_target, "GET", raw, DEFAULT_PORTS, canonical=True)
        self.assertEqual(parse_request_target("GET", b"http://example.com/", canonical=True).authority, HOST)

    def test_the_error_for_https_in_clear_text_names_the_fix(self) -> None:
        for raw in (b"https://example.com/", b"wss://example.com/"):
            error = self.assertRaises(InvalidTarget, parse_request_target, "GET", raw)
            for words in ("loopback", "https=allow", "CONNECT"):
                self.assertIn(words, error.reason)

    def test_errors_quote_no_part_of_the_target(self) -> None:
        for name, (method, raw) in REFUSED.items():
            with self.subTest(name):
                for sent in (b"hunter2" + raw, raw.replace(b"://", b"://hunter2"), raw + b"#hunter2"):
                    try:
                        parse_request_target(method, sent)
                    except InvalidTarget as error:
                        self.assertNotIn("hunter2", error.reason)

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
                        b"\xff",
                        b"\\",
                        b"ws",
                        b"::1",
                    ]
                ),
                max_size=9,
            ).map(b"".join),
        ),
    )
    def test_arbitrary_targets_are_valid_or_rejected(self, method: str, raw: bytes) -> None:
        try:
            target = parse_request_target(method, raw)
        except InvalidTarget:
            return
        self.assertEqual(target.authority is not None, target.form in (ABSOLUTE, TargetForm.AUTHORITY))
        self.assertEqual(target.form is TargetForm.AUTHORITY, method == "CONNECT")
        # The target that is sent is a suffix of the original, except for a path that a URL may omit.
        self.assertTrue(raw.endswith(target.sent.removeprefix(b"/")) or target.path == "*")
        self.assertEqual(unquote_to_bytes(target.path), unquote_to_bytes(target.sent))
        self.assertTrue(target.path.startswith("/") or target.path in ("*", ""))
