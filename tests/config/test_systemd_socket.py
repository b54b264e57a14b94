"""Tests for L{egress.config.systemd_socket}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.config.systemd_socket import InvalidSocket, SystemdSocket


class ParseTests(SynchronousTestCase):
    """Descriptions."""

    def test_valid(self) -> None:
        for text, expected in (
            ("systemd:", SystemdSocket()),
            ("systemd:name=proxy", SystemdSocket("proxy")),
            ("systemd:domain=INET:index=0", SystemdSocket(None, 0, "INET")),
        ):
            with self.subTest(text):
                self.assertEqual(SystemdSocket.parse(text), expected)

    def test_invalid(self) -> None:
        for text, remedy in (
            ("systemd:name", "systemd:name=NAME"),
            ("systemd:name=a:name=b", "systemd:name=NAME"),
            ("systemd:port=1", "systemd:name=NAME"),
            ("systemd:name=a:index=0", "both a name and an index"),
            ("systemd:index=x", "a number"),
            ("systemd:index=-1", "a number"),
            ("systemd:index=\u0661", "a number"),
            ("systemd:index=99999", "a number"),
        ):
            with self.subTest(text):
                self.assertIn(remedy, str(self.assertRaises(InvalidSocket, SystemdSocket.parse, text)))
