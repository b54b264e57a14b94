"""Tests for L{egress.config.options}."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import Limits, ProxyConfig
from egress.config.notify import NotifySettings
from egress.config.options import BY_NAME, OPTIONS
from egress.config.parsers import BadValue, ParseContext
from egress.config.shared import SharedSettings


class OptionTableTests(SynchronousTestCase):
    """The table matches the configuration and is consistent."""

    def test_every_field_can_be_set(self) -> None:
        fields = {attribute.name for attribute in attrs.fields(ProxyConfig)}
        settable = {field for option in OPTIONS for field in option.fields}
        parts = {"limits": Limits, "notify": NotifySettings, "shared": SharedSettings}
        nested = {field for field in settable if "." in field}
        # Only the default audit store is not required.
        self.assertEqual(settable - nested, (fields | {"config"}) - {*parts, "audit_store_required"})
        known = {f"{part}.{attribute.name}" for part, kind in parts.items() for attribute in attrs.fields(kind)}
        self.assertLessEqual(nested, known)

    def test_variables_set_what_their_option_sets(self) -> None:
        for option in OPTIONS:
            for variable in option.environment:
                with self.subTest(variable.name):
                    self.assertLessEqual(set(variable.fields or ()), set(option.fields))

    def test_names_are_unique(self) -> None:
        names = [name for option in OPTIONS for name in (option.name, *option.aliases)]
        variables = [variable.name for option in OPTIONS for variable in option.environment]
        self.assertEqual((len(names), len(variables)), (len(set(names)), len(set(variables))))
        self.assertEqual(set(BY_NAME), set(names))

    def test_variables_are_named_after_options(self) -> None:
        self.assertEqual(BY_NAME["ssl-extra-ca-certs"].variable.name, "EGRESS_SSL_EXTRA_CA_CERTS")
        self.assertIs(BY_NAME["proxy"], BY_NAME["upstream-proxy"])

    def test_optional_settings_can_be_unset(self) -> None:
        for option in OPTIONS:
            with self.subTest(option.name):
                self.assertTrue(option.clear or option.default != "none")

    def test_upgrade_protocols(self) -> None:
        parse = BY_NAME["upgrade-protocols"].parse
        place = ParseContext(Path())
        self.assertEqual(parse("SPDY/3.1", place), "spdy/3.1")
        for text in ("websocket", "h2c", "a b"):
            self.assertRaises(BadValue, parse, text, place)
