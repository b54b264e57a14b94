"""Tests for L{egress.model.policy_url}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.model.converters import BadValue
from egress.model.policy_url import PolicyUrl, is_url, policy_location


class PolicyUrlTests(SynchronousTestCase):
    """The URLs that can have a policy."""

    def test_valid(self) -> None:
        for text, expected in (
            ("https://Policies.test/a/policy.toml", "https://policies.test/a/policy.toml"),
            ("HTTPS://policies.test:8443", "https://policies.test:8443/"),
            ("https://policies.test/raw?ref=main", "https://policies.test/raw?ref=main"),
            ("http://127.0.0.1:8000/p", "http://127.0.0.1:8000/p"),
            ("http://localhost/p", "http://localhost/p"),
            ("http://[::1]:80/p", "http://[::1]/p"),
        ):
            with self.subTest(text):
                url = PolicyUrl.parse(text)
                self.assertEqual((url.url, str(url)), (expected, expected))
                self.assertEqual(url.is_encrypted, expected.startswith("https"))

    def test_invalid(self) -> None:
        for text, words in (
            ("ftp://policies.test/", "https:// URL"),
            ("https://policies.test/#x", "https:// URL"),
            ("https://policies.test/a b", "https:// URL"),
            ("https://user:secret@policies.test/", "--policy-token-file"),
            ("https://policies.test:99999/", "host and an optional port"),
            ("https://a_b.test/", "underscore"),
            ("http://policies.test/", "use https"),
            ("http://10.0.0.1/", "use https"),
            ("http://127.0.0.1.evil.test/", "use https"),
        ):
            with self.subTest(text):
                error = self.assertRaises(BadValue, PolicyUrl.parse, text)
                self.assertIn(words, error.remedy)

    def test_key(self) -> None:
        """The names of files differ, and contain nothing of the URL."""
        one, other = (PolicyUrl.parse(f"https://policies.test/{name}").key for name in "ab")
        self.assertNotEqual(one, other)
        self.assertTrue(one.isalnum())

    def test_is_url(self) -> None:
        self.assertTrue(is_url("ftp://x"))
        self.assertFalse(is_url("C:/policy.toml"))
        self.assertFalse(is_url("./https:/x"))

    def test_location(self) -> None:
        url = PolicyUrl.parse("https://policies.test/")
        self.assertEqual(policy_location("https://policies.test/"), url)
        self.assertIs(policy_location(url), url)
        self.assertEqual(policy_location("policy.toml"), Path("policy.toml"))
        self.assertEqual(policy_location(Path("policy.toml")), Path("policy.toml"))
        for wrong in (1, "", "http://policies.test/"):
            self.assertRaises(BadValue, policy_location, wrong)
