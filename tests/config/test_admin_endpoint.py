"""Tests for L{egress.config.admin_endpoint}."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config.admin_endpoint import AdminEndpoint, InvalidAdmin
from egress.model.converters import ConfigError


class AdminEndpointTests(SynchronousTestCase):
    """Accepted and rejected endpoints."""

    def test_unix(self) -> None:
        found = AdminEndpoint.parse("unix:/run/a.sock")
        self.assertEqual(found, AdminEndpoint("unix:/run/a.sock:mode=600", "/run/a.sock"))
        self.assertEqual((str(found), found.wants_token), ("unix:/run/a.sock", False))
        self.assertEqual(AdminEndpoint.parse("unix:/a:mode=660").endpoint, "unix:/a:mode=660")

    def test_relative_path(self) -> None:
        found = AdminEndpoint.parse("unix:a\\:b", lambda text: Path("/run") / text)
        self.assertEqual((found.endpoint, found.path), ("unix:/run/a\\:b:mode=600", "/run/a:b"))

    def test_tcp(self) -> None:
        found = AdminEndpoint.parse("tcp:9099")
        self.assertEqual(found, AdminEndpoint("tcp:9099:interface=127.0.0.1", None, ip_address("127.0.0.1"), 9099))
        self.assertEqual((str(found), found.wants_token), ("http://127.0.0.1:9099", True))
        self.assertEqual(AdminEndpoint.parse("tcp:9099:interface=127.0.0.1"), found)
        six = AdminEndpoint.parse("tcp6:9099")
        self.assertEqual((six.endpoint, str(six)), ("tcp6:9099:interface=\\:\\:1", "http://[::1]:9099"))
        self.assertEqual(AdminEndpoint.parse("tcp6:9099:interface=\\:\\:1"), six)

    def test_inconsistent_fields(self) -> None:
        """No field may contradict the endpoint, because the token requirement depends on the fields."""
        loopback = ip_address("127.0.0.1")
        for given in (
            ("tcp:9099:interface=127.0.0.1", "/run/a.sock"),
            ("tcp:9099", None, loopback, 9099),
            ("tcp:9099:interface=0.0.0.0", None, ip_address("0.0.0.0"), 9099),
            ("tcp:9099:interface=127.0.0.1", None, loopback, 0),
            ("tcp:9099:interface=127.0.0.1",),
            ("unix:/a:mode=666", "/a"),
            ("unix:/a", "/a"),
            ("unix:/b:mode=600", "/a"),
            ("unix:/a:mode=600", "/a", loopback),
        ):
            with self.subTest(given):
                error = self.assertRaises(ConfigError, AdminEndpoint, *given)
                self.assertEqual((error.option, error.value), ("endpoint", given[0]))

    def test_urls(self) -> None:
        """The URLs that a client may use."""
        for text, same in (
            ("http://127.0.0.1:9099/", "tcp:9099"),
            ("http://localhost:9099", "tcp:9099"),
            ("http://[::1]:9099", "tcp6:9099"),
            ("http://127.0.0.1", "tcp:80"),
        ):
            with self.subTest(text):
                self.assertEqual(AdminEndpoint.parse(text), AdminEndpoint.parse(same))

    def test_is_at(self) -> None:
        self.assertTrue(AdminEndpoint.parse("unix:/a").is_at("/a"))
        self.assertFalse(AdminEndpoint.parse("unix:/a").is_at(0))
        self.assertTrue(AdminEndpoint.parse("tcp:1").is_at(1))

    def test_rejected(self) -> None:
        for text, remedy in (
            ("", "write unix:PATH"),
            ("unix:", "write unix:PATH"),
            ("unix:/a:/b", "write unix:PATH"),
            ("ssl:443", "write unix:PATH"),
            ("http://a b/", "write unix:PATH"),
            ("http://proxy.test:9099", "must be a loopback address"),
            ("unix:/a:mode=666", "without permissions for other users"),
            ("unix:/a:mode=9", "without permissions for other users"),
            ("unix:/a:lockfile=0", "unknown setting lockfile"),
            ("tcp:0", "from 1 to 65535"),
            ("tcp:65536", "from 1 to 65535"),
            ("tcp:x", "from 1 to 65535"),
            ("tcp:9099:interface=0.0.0.0", "must be a loopback address"),
            ("tcp:9099:interface=192.0.2.1", "must be a loopback address"),
            ("tcp:9099:interface=", "must be a loopback address"),
            ("tcp:9099:interface=localhost", "must be a loopback address"),
            ("tcp:9099:backlog=5", "unknown setting backlog"),
        ):
            with self.subTest(text):
                self.assertIn(remedy, self.assertRaises(InvalidAdmin, AdminEndpoint.parse, text).remedy)
