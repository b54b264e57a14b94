"""Tests for L{egress.model.target}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
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
