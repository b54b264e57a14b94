"""Tests for L{egress.tls.ca_source}."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError, ProxyConfig
from egress.tls.ca_source import ca_source
from egress.tls.ca_store import CaDirectory
from egress.tls.provided_ca import ProvidedCa

CERT, KEY, DIR = Path("/cert"), Path("/key"), Path("/dir")


class CaSourceTests(SynchronousTestCase):
    """The CA source of a configuration."""

    def test_directory(self) -> None:
        self.assertEqual(ca_source(ProxyConfig(ca_dir=DIR)), CaDirectory(DIR))
        config = ProxyConfig(ca_dir=DIR, ca_name_constraints=("example.com",))
        self.assertEqual(ca_source(config), CaDirectory(DIR, ("example.com",)))

    def test_provided_files(self) -> None:
        self.assertEqual(ca_source(ProxyConfig(ca_dir=DIR, ca_cert=CERT, ca_key=KEY)), ProvidedCa(CERT, KEY))

    def test_incomplete_files(self) -> None:
        """If only one of the two files is given, the proxy does not fall back to another CA."""
        error = self.assertRaises(ConfigError, ProxyConfig, ca_cert=CERT)
        self.assertEqual(str(error), "ca_key: is required with ca_cert")
        error = self.assertRaises(ConfigError, ProxyConfig, ca_key=KEY)
        self.assertEqual(str(error), "ca_cert: is required with ca_key")
