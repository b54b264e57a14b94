"""Tests for L{egress.policy.match.clients}."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.match.clients import ClientName, compile_client


class ClientTests(SynchronousTestCase):
    """Client patterns."""

    def test_addresses(self) -> None:
        for text in ("10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8"):
            self.assertEqual(compile_client(text), ip_network(text))

    def test_names(self) -> None:
        for text in ("ci-*", "10", "team/ci", "re:ci-[0-9]+", "cafe", "build:7"):
            with self.subTest(text):
                self.assertIsInstance(compile_client(text), ClientName)
        found = compile_client("Ci-*")
        assert isinstance(found, ClientName)
        self.assertEqual((found.exact("ci-1"), found.exact("Ci-1"), found.broad("CI-1")), (False, True, True))

    def test_rejected(self) -> None:
        """A malformed range is not accepted as a name."""
        for text in ("", "10.0.0.1/8", "10.0.0.0/33", "300.0.0.1", "::1::", "a::/x", "re:("):
            with self.subTest(text):
                self.assertRaises(ValueError, compile_client, text)
