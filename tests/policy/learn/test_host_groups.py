"""Tests for L{egress.policy.learn.host_groups}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.policy.learn.host_groups import grouped, has_one_owner


class HostGroupTests(SynchronousTestCase):
    """Whose names are below a domain."""

    def test_one_owner(self) -> None:
        for domain in (
            "example.com",
            "cdn.example.com",
            "postman-echo.com",
            "example.co.uk",
            "company.io",
            "bigshop.de",
        ):
            self.assertTrue(has_one_owner(domain), domain)
        for domain in (
            *("com", "localhost", "co.uk", "com.au", "edu.pl", "store.ro", "192.0.2.1", "2.1"),
            *("github.io", "amazonaws.com", "s3.amazonaws.com", "eu-west-1.amazonaws.com", "blob.core.windows.net"),
            *("herokuapp.com", "ngrok-free.app", "nip.io"),
        ):
            self.assertFalse(has_one_owner(domain), domain)

    def test_grouped(self) -> None:
        hosts = ["a.example.com", "b.example.com", "c.example.com", "example.com", "192.0.2.1", "::1", "localhost"]
        found = grouped(hosts)
        self.assertEqual({found.pop(f"{name}.example.com") for name in "abc"}, {"*.example.com"})
        self.assertEqual(found, {host: host for host in hosts[3:]})

    def test_not_grouped(self) -> None:
        """Two are not many, and customers of one host have nothing to do with each other."""
        for hosts in (
            ["a.example.com", "b.example.com"],
            [f"{name}.github.io" for name in "abcdef"],
            [f"{name}.com" for name in "abcdef"],
            [f"{name}.co.uk" for name in "abcdef"],
            [f"10.0.0.{number}" for number in range(6)],
        ):
            self.assertEqual(grouped(hosts), {host: host for host in hosts})
