"""Tests for L{egress.config.shared}."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, ProxyConfig
from egress.config.shared import SharedSettings, shared_key
from egress.model.converters import BadValue
from egress.model.shared_location import SharedLocation

KEY = bytes(32)


class SharedSettingsTests(SynchronousTestCase):
    """The settings of the state that replicas share."""

    def test_off(self) -> None:
        self.assertIsNone(ProxyConfig().shared.location)

    def test_parsed(self) -> None:
        given: Any = "redis://a.test"
        self.assertEqual(SharedSettings(location=given, key=KEY).location, SharedLocation.parse("redis://a.test"))

    def test_no_secrets(self) -> None:
        given: Any = "redis+sentinel://a.test/m"
        text = repr(SharedSettings(location=given, key=b"hunter2" * 5, password="hunter2", sentinel_password="hunter2"))
        self.assertNotIn("hunter2", text)

    def test_key(self) -> None:
        self.assertEqual(shared_key(KEY), KEY)
        for value in (b"", bytes(31), "x" * 64, None):
            self.assertIn("32 random bytes", self.assertRaises(BadValue, shared_key, value).remedy)

    def test_contradictions(self) -> None:
        for given, option, remedy in (
            ({"key": KEY}, "shared.key", "set shared.location"),
            ({"password": "x"}, "shared.password", "set shared.location"),
            ({"timeout": 2.0}, "shared.timeout", "set shared.location"),
            ({"sentinel_password": "x"}, "shared.sentinel_password", "set shared.location"),
            (
                {"location": "redis://a.test", "key": KEY, "sentinel_password": "x"},
                "shared.sentinel_password",
                "set shared.location to redis+sentinel://",
            ),
            (
                {"location": "redis+sentinel://a.test/m?sentinel_username=ci", "key": KEY},
                "shared.location",
                "set shared.sentinel_password",
            ),
            ({"location": "redis://a.test"}, "shared.location", "set shared.key"),
            ({"location": "redis://ci@a.test", "key": KEY}, "shared.location", "set shared.password"),
        ):
            with self.subTest(str(given)):
                values: Any = given
                error = self.assertRaises(ConfigError, SharedSettings, **values)
                self.assertEqual(error.option, option)
                self.assertIn(remedy, error.remedy)
