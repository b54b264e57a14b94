"""Tests for L{egress.model.webhook}."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode

from twisted.trial.unittest import SynchronousTestCase

from egress.model.converters import BadValue
from egress.model.webhook import WebhookFormat, WebhookTarget, signature, webhook_secret, webhook_target

# The test vector of the reference libraries of the Standard Webhooks specification
# (https://github.com/standard-webhooks/standard-webhooks, libraries/python/tests).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIME = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


class SignatureTests(SynchronousTestCase):
    """Messages are signed as the Standard Webhooks specification requires."""

    def test_vector(self) -> None:
        self.assertEqual(signature([webhook_secret(SECRET)], MESSAGE, TIME, BODY), SIGNATURE)

    def test_two_secrets(self) -> None:
        """While receivers change to another secret, a message has one signature for each."""
        new = bytes(range(32))
        signed = signature([new, webhook_secret(SECRET)], MESSAGE, TIME, BODY)
        first, second = signed.split(" ")
        self.assertEqual(second, SIGNATURE)
        content = b".".join((MESSAGE.encode(), str(TIME).encode(), BODY))
        self.assertEqual(b64decode(first.removeprefix("v1,")), hmac.new(new, content, hashlib.sha256).digest())

    def test_each_part_is_signed(self) -> None:
        secret = [webhook_secret(SECRET)]
        others = {
            signature(secret, MESSAGE, TIME, BODY),
            signature(secret, MESSAGE + "x", TIME, BODY),
            signature(secret, MESSAGE, TIME + 1, BODY),
            signature(secret, MESSAGE, TIME, BODY + b" "),
        }
        self.assertEqual(len(others), 4)


class SecretTests(SynchronousTestCase):
    """A secret has a prefix and 24 to 64 bytes."""

    def test_accepted(self) -> None:
        for secret in (bytes(24), bytes(64)):
            self.assertEqual(webhook_secret(secret), secret)
            self.assertEqual(webhook_secret("whsec_" + b64encode(secret).decode()), secret)

    def test_rejected(self) -> None:
        """The error names the fix, and not the secret."""
        for text in (
            SECRET.removeprefix("whsec_"),
            "whsec_hunter2!",
            "whsec_" + b64encode(bytes(23)).decode(),
            "whsec_" + b64encode(bytes(65)).decode(),
            bytes(23),
            "",
        ):
            with self.subTest(text):
                error = self.assertRaises(BadValue, webhook_secret, text)
                self.assertIn("openssl rand -base64 32", error.remedy)
                self.assertNotIn("hunter2", error.remedy)


class TargetTests(SynchronousTestCase):
    """The URL of a receiver, with an optional format."""

    def test_url(self) -> None:
        target = WebhookTarget.parse("https://Hooks.example/a?sig=%2Fb&c='d'")
        self.assertEqual(target.url, "https://hooks.example/a?sig=%2Fb&c='d'")
        self.assertIsNone(target.written)
        self.assertTrue(target.is_encrypted)
        self.assertEqual(WebhookTarget.parse("https://h.example?x=1").url, "https://h.example/?x=1")

    def test_formats(self) -> None:
        for text, expected in (
            ("slack:https://h.example/x", WebhookFormat.SLACK),
            ("TEAMS:https://h.example/x", WebhookFormat.TEAMS),
            ("json:http://h.example:8080/x", WebhookFormat.JSON),
        ):
            with self.subTest(text):
                self.assertIs(WebhookTarget.parse(text).written, expected)

    def test_the_path_is_not_displayed(self) -> None:
        target = WebhookTarget.parse("slack:https://h.example:8443/services/hunter2")
        self.assertEqual(str(target), "https://h.example:8443")
        self.assertNotIn("hunter2", repr(target))

    def test_rejected(self) -> None:
        for text, part in (
            ("h.example/hunter2", "https:// or http:// URL"),
            ("pager:https://h.example/hunter2", "json:URL"),
            ("slack:h.example", "https:// or http:// URL"),
            ("ftp://h.example/hunter2", "an https:// or http:// URL, or json:URL"),
            ("slack:ftp://h.example/hunter2", "an https:// or http:// URL"),
            ("https://u:hunter2@h.example/", "credentials"),
            ("https://h.example/hunter2#f", "https:// or http:// URL"),
            ("https://h.example/hunter2 x", "https:// or http:// URL"),
            ("https://h.example/hunt\u00e9r2", "https:// or http:// URL"),
            ("https://:8443/hunter2", "host"),
            ("https://h.example:0/hunter2", "host"),
        ):
            with self.subTest(text):
                error = self.assertRaises(BadValue, WebhookTarget.parse, text)
                self.assertIn(part, error.remedy)
                self.assertNotIn("hunter2", error.remedy)

    def test_local(self) -> None:
        for host, expected in (
            ("127.0.0.1", True),
            ("127.8.9.10", True),
            ("[::1]", True),
            ("localhost", True),
            ("192.0.2.1", False),
            ("localhost.example", False),
        ):
            with self.subTest(host):
                self.assertEqual(WebhookTarget.parse(f"http://{host}:8080/").is_local, expected)
                self.assertFalse(WebhookTarget.parse(f"http://{host}:8080/").is_encrypted)

    def test_converter(self) -> None:
        target = WebhookTarget.parse("https://h.example/")
        self.assertIs(webhook_target(target), target)
        self.assertEqual(webhook_target("https://h.example/"), target)
        self.assertRaises(BadValue, webhook_target, 1)
