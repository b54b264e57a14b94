"""Tests for L{egress.checks.machine}."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.checks import machine as module
from egress.checks.machine import (
    ca_facts,
    ca_files,
    ca_options,
    docker_config,
    possible_connections,
    readable,
    versions,
)
from egress.config.model import Limits, ProxyConfig
from egress.model.authority import Authority
from egress.tls.ca_source import ca_source
from tests.files import make_directory

NOW = datetime.now(timezone.utc)


class CaTests(SynchronousTestCase):
    """The CA of this machine."""

    def setUp(self) -> None:
        self.config = ProxyConfig(ca_dir=make_directory(self) / "ca")
        self.authority = ca_source(self.config).load_or_create(NOW)
        self.leaf = self.authority.issue(Authority("egressproxy.invalid", 443), NOW).certificate

    def other(self) -> ProxyConfig:
        config = ProxyConfig(ca_dir=make_directory(self) / "other")
        ca_source(config).load_or_create(NOW)
        return config

    def test_facts(self) -> None:
        facts = ca_facts(self.config, NOW, None)
        self.assertEqual((facts.problem, facts.missing, facts.exposed, facts.signed), (None, False, None, None))
        self.assertEqual(facts.end, self.authority.not_after)
        self.assertFalse(facts.ends_soon)
        self.assertTrue(ca_facts(self.config, self.authority.not_after - timedelta(days=1), None).ends_soon)

    def test_signature(self) -> None:
        self.assertTrue(ca_facts(self.config, NOW, self.leaf).signed)
        self.assertFalse(ca_facts(self.other(), NOW, self.leaf).signed)

    def test_missing(self) -> None:
        config = ProxyConfig(ca_dir=make_directory(self) / "none")
        self.assertTrue(ca_facts(config, NOW, None).missing)
        self.assertEqual(ca_files(config, None), (None, None))

    def test_exposed_key(self) -> None:
        key = self.config.ca_dir / "ca-key.pem"
        key.chmod(0o644)
        self.assertEqual(ca_facts(self.config, NOW, None).exposed, key)

    def test_a_hidden_key(self) -> None:
        """A sandbox hides the key behind an empty file, which every user can read."""
        key = self.config.ca_dir / "ca-key.pem"
        key.write_bytes(b"")
        key.chmod(0o644)
        self.assertIsNone(ca_facts(self.config, NOW, None).exposed)

    def test_a_key_of_another_user(self) -> None:
        """The published certificate suffices."""
        (self.config.ca_dir / "ca-key.pem").write_bytes(b"unreadable")
        self.assertEqual(ca_facts(self.config, NOW, self.leaf).signed, True)
        (self.config.ca_dir / "ca.pem").write_bytes(b"neither")
        self.assertIn("restore the correct files", ca_facts(self.config, NOW, None).problem or "")
        self.assertEqual(ca_files(self.config, None), (None, None))

    def test_no_key_file(self) -> None:
        (self.config.ca_dir / "ca-key.pem").unlink()
        self.assertIsNone(ca_facts(self.config, NOW, None).exposed)

    def test_files(self) -> None:
        directory = self.config.ca_dir.absolute()
        self.assertEqual(ca_files(self.config, self.leaf), (directory / "ca.pem", None))
        bundle = directory / "clients" / "bundle.pem"
        bundle.parent.mkdir()
        bundle.write_bytes(b"# system\n" + self.authority.certificate_pem)
        self.assertEqual(ca_files(self.config, self.leaf), (directory / "ca.pem", bundle))
        bundle.write_bytes(b"# an earlier CA")
        self.assertEqual(ca_files(self.config, None), (directory / "ca.pem", None))
        self.assertEqual(ca_files(self.other(), self.leaf), (None, None))

    def test_options(self) -> None:
        self.assertEqual(ca_options(ProxyConfig()), ())
        self.assertEqual(ca_options(self.config), ("--ca-dir", str(self.config.ca_dir.absolute())))
        provided = ProxyConfig(ca_cert=Path("/c"), ca_key=Path("/k"))
        self.assertEqual(ca_options(provided), ("--ca-cert", "/c", "--ca-key", "/k"))
        provided = ProxyConfig(ca_cert=Path("/c"), ca_key=Path("/k"), ca_root=Path("/r"))
        self.assertEqual(ca_options(provided)[-2:], ("--ca-root", "/r"))


class MachineTests(SynchronousTestCase):
    """Limits, versions and files."""

    def test_connections(self) -> None:
        self.patch(module, "hard_limit", lambda: 1024)
        self.assertEqual(possible_connections(Limits()), 384)

    def test_versions(self) -> None:
        found, required, openssl = versions()
        self.assertIn("twisted", found)
        self.assertRegex(found["python"], r"\A3\.")
        self.assertTrue(any(each.lower().startswith("twisted") for each in required))
        self.assertFalse(any("extra ==" in each for each in required))
        self.assertRegex(openssl, r"\w+SSL")

    def test_source_tree(self) -> None:
        def missing(name: str) -> list[str]:
            raise metadata.PackageNotFoundError(name)

        self.patch(metadata, "requires", missing)
        self.assertEqual(versions()[1], [])

    def test_docker_config(self) -> None:
        home = make_directory(self)
        self.assertEqual(docker_config({"HOME": str(home)}), {})
        (home / ".docker").mkdir()
        path = home / ".docker" / "config.json"
        expected: dict[str, Any]
        for text, expected in (('{"proxies": {}}', {"proxies": {}}), ("[]", {}), ("{", {})):
            path.write_text(text)
            self.assertEqual(docker_config({"HOME": str(home)}), expected)
        path.write_text('{"a": 1}')
        self.assertEqual(docker_config({"DOCKER_CONFIG": str(path.parent)}), {"a": 1})

    def test_readable(self) -> None:
        directory = make_directory(self)
        path = directory / "a"
        path.touch()
        self.assertEqual([readable(str(each)) for each in (path, directory, directory / "b")], [True, False, False])
