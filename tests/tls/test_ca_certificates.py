"""Tests for L{egress.tls.ca_certificates}."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from egress.tls.ca_certificates import Certificates, certificate_in, certificates_in
from egress.tls.issuer import CaError
from tests.certificates import TestCA, key_pem_of
from tests.files import make_directory

NOW = datetime.now(timezone.utc)


class TrustedTests(SynchronousTestCase):
    """The certificates that clients trust."""

    def test_order(self) -> None:
        """The signing CA, the next one, and earlier ones that have not expired; each once."""
        current, following, past, ended = (TestCA(name, expired=name == "D").certificate for name in "ABCD")
        certificates = Certificates(current, following, (past, ended, current))
        self.assertEqual(certificates.trusted(NOW), (current, following, past))
        self.assertEqual(Certificates(current).trusted(NOW), (current,))

    def test_expired(self) -> None:
        """The signing CA is included even if it has expired, so that the expiry can be noticed."""
        current = TestCA(expired=True).certificate
        self.assertEqual(Certificates(current).trusted(NOW), (current,))

    def test_chain(self) -> None:
        """For a chain, the topmost certificate."""
        root = TestCA("Root")
        upper = TestCA("Upper", root)
        lower = TestCA("Lower", upper)
        certificates = Certificates(lower.certificate, chain=(upper.certificate, root.certificate))
        self.assertEqual(certificates.trusted(NOW), (root.certificate,))


class ReadingTests(SynchronousTestCase):
    """Certificates in files."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.ca = TestCA()

    def write(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def refused(self, path: Path, other: Path | None, *words: str) -> None:
        error = self.assertRaises(CaError, certificate_in, path, other)
        for word in words:
            self.assertIn(word, error.reason)

    def test_certificate_follows_the_key(self) -> None:
        path = self.write("key", key_pem_of(self.ca.key) + self.ca.pem)
        self.assertEqual(certificate_in(path, self.directory / "none"), self.ca.certificate)

    def test_separate_file(self) -> None:
        path, other = self.write("key", key_pem_of(self.ca.key)), self.write("ca", self.ca.pem)
        self.assertEqual(certificate_in(path, other), self.ca.certificate)
        other.unlink()
        self.refused(path, other, str(other), "No such file")

    def test_no_key(self) -> None:
        self.assertIsNone(certificate_in(self.directory / "key"))
        self.assertEqual(certificates_in(self.directory / "old"), ())

    def test_damaged(self) -> None:
        path = self.write("key", b"garbage")
        self.refused(path, None, str(path), "cannot be read")
        other = self.write("ca", b"rubbish")
        self.refused(path, other, str(other), "cannot be read")
        error = self.assertRaises(CaError, certificates_in, other)
        self.assertIn(f"{other}: ", error.reason)

    def test_exposed_key(self) -> None:
        """Even the certificate is not read from a file with a key that other users can read."""
        path = self.write("key", self.ca.pem)
        path.chmod(0o644)
        self.refused(path, None, "chmod 600")

    def test_unreadable(self) -> None:
        error = self.assertRaises(CaError, certificates_in, self.directory)
        self.assertIn("Is a directory", error.reason)
