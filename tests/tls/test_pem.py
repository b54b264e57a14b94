"""Tests for L{egress.tls.pem}.

The tests of L{egress.tls.origin_trust} and L{egress.tls.listener_context} cover the contexts.
"""

from __future__ import annotations

from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from egress.tls.pem import TrustError, plain, read_certificates, trust_certificates, use_certificate
from tests.certificates import CLIENT, TestCA, key_pem_of, new_key
from tests.files import make_directory


class PlainTests(SynchronousTestCase):
    """Untrusted text."""

    def test_plain(self) -> None:
        self.assertEqual(plain("a\nb\x1b[31m"), "a?b?[31m")
        self.assertEqual(plain("x" * 120), "x" * 120)
        self.assertEqual(plain("x" * 121), "x" * 120 + "...")


class PemTests(SynchronousTestCase):
    """Valid and invalid files."""

    def setUp(self) -> None:
        self.directory = make_directory(self)
        self.ca = TestCA()
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)

    def write(self, *pems: bytes) -> Path:
        path = self.directory / "file.pem"
        path.write_bytes(b"".join(pems))
        return path

    def test_all_certificates(self) -> None:
        other = TestCA()
        path = self.write(b"# ours\n", self.ca.pem, b"\n", other.pem)
        expected = [self.ca.certificate, other.certificate]
        self.assertEqual(read_certificates(path), expected)
        self.assertEqual(trust_certificates(self.context, path), expected)
        self.assertEqual(trust_certificates(self.context, None), [])

    def test_no_certificates(self) -> None:
        pem = self.ca.pem
        for content, words in (
            (b"text", "contains no PEM certificate"),
            (pem.replace(b"\nM", b"\n!", 1), "is damaged"),
            (pem + pem[:-40], "is truncated"),
        ):
            error = self.assertRaises(TrustError, read_certificates, self.write(content))
            self.assertIn(words, error.reason)
            self.assertEqual(str(error), error.reason)
        self.assertIn("No such file", self.assertRaises(TrustError, read_certificates, self.directory / "x").reason)

    def test_separate_key_file(self) -> None:
        issued = self.ca.issue(usage=CLIENT)
        certificate, key = issued.write(self.directory)
        use_certificate(self.context, certificate, key)
        self.context.check_privatekey()
        use_certificate(self.context, issued.write_combined(self.directory))

    def test_wrong_keys(self) -> None:
        certificate, _ = self.ca.issue(usage=CLIENT).write(self.directory)
        for content, words in (
            (key_pem_of(new_key()), f"does not belong to the first certificate of {certificate}"),
            (b"text", "specify the file with the key"),
        ):
            path = self.write(content)
            error = self.assertRaises(TrustError, use_certificate, self.context, certificate, path)
            self.assertTrue(error.reason.startswith(f"{path}: "))
            self.assertIn(words, error.reason)
