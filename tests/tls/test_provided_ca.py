"""Tests for L{egress.tls.provided_ca}."""

from __future__ import annotations

from datetime import datetime, timezone

from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.tls.issuer import CaError
from egress.tls.provided_ca import ProvidedCa
from tests.certificates import TestCA, key_pem_of, new_key
from tests.files import make_directory

NOW = datetime.now(timezone.utc)


class ProvidedCaTests(SynchronousTestCase):
    """A CA in two files."""

    def setUp(self) -> None:
        directory = make_directory(self)
        self.root = TestCA("Root")
        self.ca = TestCA("Middle", self.root)
        self.given = ProvidedCa(directory / "chain.pem", directory / "key.pem")
        self.given.certificate_path.write_bytes(self.ca.pem + self.root.pem)
        self.given.key_path.write_bytes(key_pem_of(self.ca.key))
        self.given.key_path.chmod(0o600)

    def refused(self, *words: str) -> None:
        for load in (self.given.load, self.given.load_or_create):
            error = self.assertRaises(CaError, load, NOW)
            for word in words:
                self.assertIn(word, error.reason)
            self.assertNotIn("\n", error.reason)

    def test_load(self) -> None:
        """It signs, and sends its chain."""
        leaf = self.given.load(NOW).issue(Authority("a.example", 443), NOW)
        leaf.certificate.verify_directly_issued_by(self.ca.certificate)
        self.assertEqual(leaf.chain, (self.ca.certificate,))
        self.assertEqual(self.given.paths, (self.given.certificate_path, self.given.key_path))

    def test_certificates(self) -> None:
        """They are available without the key; clients trust the root."""
        self.given.key_path.unlink()
        found = self.given.certificates()
        self.assertEqual((found.current, found.chain), (self.ca.certificate, (self.root.certificate,)))
        self.assertEqual(found.trusted(NOW), (self.root.certificate,))

    def test_key(self) -> None:
        self.given.key_path.write_bytes(key_pem_of(new_key()))
        self.refused(str(self.given.certificate_path), str(self.given.key_path), "does not belong")
        self.given.key_path.chmod(0o644)
        self.refused(f"chmod 600 {self.given.key_path}")
        self.given.key_path.unlink()
        self.refused(f"{self.given.key_path}: is missing")
        self.given.key_path.mkdir()
        self.refused(f"{self.given.key_path}: Is a directory")

    def test_chain(self) -> None:
        """In the wrong order, empty, or missing."""
        self.given.certificate_path.write_bytes(self.root.pem + self.ca.pem)
        self.refused("does not belong to its certificate")
        self.given.certificate_path.write_bytes(self.ca.pem + TestCA("Root").pem)
        self.refused("put each certificate after the one that it signed")
        self.given.certificate_path.write_bytes(b"garbage")
        self.refused(str(self.given.certificate_path), "in PEM")
        self.given.certificate_path.unlink()
        self.refused(str(self.given.certificate_path), "No such file")
