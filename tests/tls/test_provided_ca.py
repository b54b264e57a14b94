"""Tests for L{egress.tls.provided_ca}."""

from __future__ import annotations

from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from egress.model.authority import Authority
from egress.tls.issuer import CaError
from egress.tls.provided_ca import ProvidedCa
from tests.certificates import TestCA, key_pem_of, new_key, pem_of
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
        self.assertEqual(self.given.trust_path, self.given.certificate_path)

    def test_certificates(self) -> None:
        """They are available without the key; clients trust the root."""
        self.given.key_path.unlink()
        found = self.given.certificates()
        self.assertEqual((found.current, found.chain), (self.ca.certificate, (self.root.certificate,)))
        self.assertEqual(found.trusted(NOW), (self.root.certificate,))

    def test_roots(self) -> None:
        """Clients trust the certificates in a file of their own, as in a Secret of cert-manager."""
        other = TestCA("Next root")
        root_path = self.given.certificate_path.with_name("ca.crt")
        self.given.certificate_path.write_bytes(self.ca.pem)
        given = self.given = ProvidedCa(self.given.certificate_path, self.given.key_path, root_path)
        self.assertEqual(given.paths, (given.certificate_path, given.key_path, root_path))
        self.assertEqual(given.trust_path, root_path)
        root_path.write_bytes(other.pem + self.root.pem)
        found = given.load(NOW)
        self.assertEqual((found.root, found.chain), (self.root.certificate, (self.ca.certificate,)))
        self.assertEqual(given.certificates().trusted(NOW), (self.root.certificate, other.certificate))
        self.given.certificate_path.write_bytes(self.ca.pem + self.root.pem)
        self.assertEqual(given.load(NOW).root, self.root.certificate)
        root_path.write_bytes(other.pem)
        self.refused(f"{root_path}: does not contain the root of {given.certificate_path}")
        root_path.write_bytes(b"garbage")
        self.refused(f"{root_path}: ", "specify certificates in PEM")
        root_path.unlink()
        self.refused(f"{root_path}: No such file")

    def test_renewed_root(self) -> None:
        """A root that signs itself, and was renewed with its key."""
        root_path = self.given.certificate_path.with_name("ca.crt")
        given = ProvidedCa(self.given.certificate_path, self.given.key_path, root_path)
        before = self.root.certificate
        renewed = x509.CertificateBuilder(
            before.subject,
            before.subject,
            before.public_key(),
            7,
            before.not_valid_before_utc,
            before.not_valid_after_utc,
        )
        for extension in before.extensions:
            renewed = renewed.add_extension(extension.value, extension.critical)
        given.certificate_path.write_bytes(pem_of(renewed.sign(self.root.key, hashes.SHA256())))
        given.key_path.write_bytes(key_pem_of(self.root.key))
        root_path.write_bytes(self.root.pem)
        found = given.load(NOW)
        self.assertEqual((found.chain, found.certificate.serial_number), ((), 7))
        self.assertEqual(given.certificates().trusted(NOW), (found.certificate, before))

    def test_half_written(self) -> None:
        """The last certificate of the chain is not complete."""
        self.given.certificate_path.write_bytes(self.ca.pem + self.root.pem[:-30])
        self.refused("one of its certificates is truncated")

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
