"""Tests for L{egress.config.notify}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, ProxyConfig
from egress.config.notify import ALL_EVENTS, NotifyEvent, NotifySettings, console_url
from egress.model.converters import BadValue
from egress.model.webhook import WebhookFormat

SECRET = bytes(32)
JSON = "https://hooks.example/json"
SLACK = "slack:https://hooks.example/slack"


def settings(**given: Any) -> NotifySettings:
    """Make settings."""
    return NotifySettings(**given)


class NotifySettingsTests(SynchronousTestCase):
    """The settings of notifications."""

    def test_off(self) -> None:
        off = ProxyConfig().notify
        self.assertEqual((off.targets, off.wants(NotifyEvent.DENIAL)), ((), False))

    def test_targets(self) -> None:
        """The targets of both options are used, each once."""
        both = settings(url=(JSON, SLACK), url_file=(SLACK,), secret=(SECRET,))
        self.assertEqual([both.format_of(each) for each in both.targets], [WebhookFormat.JSON, WebhookFormat.SLACK])
        other = settings(url=(JSON, SLACK), format="teams")
        self.assertEqual([other.format_of(each) for each in other.targets], [WebhookFormat.TEAMS, WebhookFormat.SLACK])

    def test_events(self) -> None:
        some = settings(url=(SLACK,), events=("ca", "denial"))
        self.assertEqual([event.value for event in ALL_EVENTS if some.wants(event)], ["denial", "ca"])

    def test_no_secrets(self) -> None:
        text = repr(settings(url=(JSON,), url_file=(SLACK,), secret=(b"hunter2" * 5,)))
        for hidden in ("hunter2", "/json", "/slack"):
            self.assertNotIn(hidden, text)

    def test_contradictions(self) -> None:
        for given, option, remedy in (
            ({"secret": (SECRET,)}, "notify.secret", "set notify.url"),
            ({"interval": 5.0}, "notify.interval", "set notify.url"),
            ({"console_url": "https://c.example"}, "notify.console_url", "set notify.url"),
            ({"format": "slack"}, "notify.format", "set notify.url"),
            ({"url": (JSON,)}, "notify.secret", "forge"),
            ({"url": (SLACK, JSON)}, "notify.secret", "forge"),
            ({"url": ("slack:http://hooks.example/",)}, "notify.url", "notify.allow_http"),
            ({"url_file": ("slack:http://192.0.2.1/",)}, "notify.url_file", "https://"),
        ):
            with self.subTest(str(given)):
                error = self.assertRaises(ConfigError, settings, **given)
                self.assertEqual(error.option, option)
                self.assertIn(remedy, error.remedy)
                self.assertEqual(error.value, "" if "url" in option and "console" not in option else error.value)

    def test_plain_http(self) -> None:
        for given in (
            {"url": ("slack:http://127.0.0.1:8080/",)},
            {"url": ("slack:http://hooks.example/",), "allow_http": True},
        ):
            self.assertEqual(len(settings(**given).targets), 1)


class ConsoleUrlTests(SynchronousTestCase):
    """The URL of the console is the prefix of links."""

    def test_accepted(self) -> None:
        self.assertEqual(console_url("https://egress.example:9099/"), "https://egress.example:9099")
        self.assertEqual(console_url("http://127.0.0.1:9099/base/"), "http://127.0.0.1:9099/base")

    def test_rejected(self) -> None:
        for text in (
            "egress.example",
            "ftp://a.example",
            "https://a.example/?q",
            "https://a.example/#f",
            "https://u@a",
        ):
            with self.subTest(text):
                self.assertRaises(BadValue, console_url, text)
