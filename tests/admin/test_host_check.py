"""Tests for L{egress.admin.host_check}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.admin.host_check import is_known_host


class HostTests(SynchronousTestCase):
    """DNS rebinding uses a name of another site."""

    def test_hosts(self) -> None:
        names = ["proxy.example", "2001:db8::5", "192.0.2.5"]
        for value, expected in (
            ("localhost", True),
            ("LOCALHOST:80", True),
            ("localhost.:80", True),
            ("egress.localhost:9099", True),
            ("127.0.0.1:9099", True),
            ("127.8.8.8", True),
            ("[::1]:9099", True),
            ("proxy.example:443", True),
            ("evil.test", False),
            ("localhost.evil.test", False),
            ("evillocalhost", False),
            ("127.0.0.1.evil.test", False),
            ("10.0.0.1", False),
            ("0.0.0.0", False),
            ("[::]", False),
            ("[2001:DB8:0::5]:9099", True),
            ("[2001:db8::6]", False),
            ("192.0.2.5", True),
            ("192.0.2.6", False),
            ("", False),
            ("localhost:", False),
            ("localhost:x", False),
            ("localhost@evil.test", False),
            ("evil.test/localhost", False),
            ("localhost localhost", False),
            ("\xff", False),
        ):
            with self.subTest(value):
                self.assertIs(is_known_host([value.encode("latin-1")], names), expected)

    def test_number(self) -> None:
        self.assertFalse(is_known_host([]))
        self.assertFalse(is_known_host([b"localhost", b"localhost"]))
