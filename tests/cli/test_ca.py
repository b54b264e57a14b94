"""Tests for L{egress.cli.ca}."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from twisted.trial.unittest import SynchronousTestCase

from egress.cli import ca
from egress.cli import main as cli
from egress.tls.ca_certificates import Certificates
from egress.tls.ca_store import CaDirectory
from egress.tls.issuer import CA_LIFETIME, pin_of, read_certificates
from tests.certificates import TestCA, key_pem_of, published
from tests.files import disk_full

# Certificates have whole seconds.
NOW = datetime.now(timezone.utc).replace(microsecond=0)


class CaCommandTestCase(SynchronousTestCase):
    """A test case with a directory that has a CA."""

    def setUp(self) -> None:
        # A short name: the compared lines contain paths.
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.directory = CaDirectory(self.root / "ca")
        self.first = self.directory.load_or_create(NOW).certificate
        self.environ = {"HOME": str(self.root), "EGRESS_CA_DIR": str(self.directory.path)}

    def run_ca(self, *arguments: str, status: int = 0) -> tuple[bytes, str]:
        """Run C{egress ca}.

        @return: standard output and standard error.
        """
        out, err = io.BytesIO(), io.StringIO()
        text = io.TextIOWrapper(out, "utf-8", write_through=True)
        self.assertEqual(cli.main(["ca", *arguments], self.environ, text, err), status, err.getvalue())
        return out.getvalue(), err.getvalue()

    def said(self, *arguments: str) -> str:
        out, err = self.run_ca(*arguments)
        self.assertEqual(err, "")
        return out.decode("utf-8")

    def refused(self, *arguments: str) -> str:
        """Run a command that fails.

        @return: the error line.
        """
        out, err = self.run_ca(*arguments, status=1)
        self.assertEqual((out, err.count("\n")), (b"", 1))
        return err

    def give_chain(self) -> tuple[TestCA, TestCA]:
        """Configure an intermediate CA."""
        root = TestCA("Root")
        middle = TestCA("Middle", root)
        certificate, key = self.root / "chain.pem", self.root / "key.pem"
        certificate.write_bytes(middle.pem + root.pem)
        key.write_bytes(key_pem_of(middle.key))
        key.chmod(0o600)
        self.environ |= {"EGRESS_CA_CERT": str(certificate), "EGRESS_CA_KEY": str(key)}
        return middle, root


class ShowTests(CaCommandTestCase):
    """C{egress ca show}."""

    def document(self, *arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.said("show", "--json", *arguments))
        return document

    def test_lines(self) -> None:
        end = self.first.not_valid_after_utc
        self.assertEqual(
            self.said("show").splitlines(),
            [
                f"signs: {self.first.subject.rfc4514_string()}",
                "  issued by  itself",
                f"  SHA-256    {self.directory.load(NOW).fingerprint}",
                f"  pin        {pin_of(self.first)}",
                "  key        ECDSA secp256r1",
                f"  valid      from {self.first.not_valid_before_utc:%Y-%m-%d} to {end:%Y-%m-%d}, 3649 days left",
                "  signs for  every host",
                "",
                f"files: {self.directory.key_path}, {self.directory.certificate_path}",
            ],
        )

    def test_json(self) -> None:
        document = self.document()
        self.assertEqual((document["next"], document["old"], document["chain"]), (None, [], []))
        current = document["current"]
        self.assertEqual(current["subject"], self.first.subject.rfc4514_string())
        self.assertEqual(datetime.fromisoformat(current["notAfter"]), self.first.not_valid_after_utc)
        self.assertEqual((current["daysLeft"], current["expired"], current["issuer"]), (3649, False, None))
        self.assertEqual(document["files"], [str(path) for path in self.directory.paths])

    def test_rotation(self) -> None:
        """The current, previous and next CA are shown with their states."""
        self.said("rotate", "--ca-name-constraints", "example.com,10.0.0.0/8")
        following = self.document()["next"]
        self.assertEqual(following["nameConstraints"], "example.com, 10.0.0.0/8")
        self.said("rotate", "--activate")
        self.said("rotate")
        document = self.document()
        self.assertEqual(document["current"]["sha256"], following["sha256"])
        self.assertEqual(document["next"]["nameConstraints"], "example.com, 10.0.0.0/8")
        self.assertEqual([old["subject"] for old in document["old"]], [self.first.subject.rfc4514_string()])
        titles = [line.partition(":")[0] for line in self.said("show").splitlines() if line[:1].isalpha()]
        self.assertEqual(titles, ["signs", "next", "old", "files"])

    def test_expired(self) -> None:
        """An expired CA can still be shown; on its last day it is not expired."""
        end = self.first.not_valid_after_utc
        for now, expired, words in ((end, True, "expired"), (end - timedelta(seconds=1), False, "0 days left")):
            with self.subTest(words):
                document = ca.describe(self.directory.certificates(), self.directory, now)
                self.assertEqual(document["current"]["expired"], expired)
                self.assertIn(f"to {end:%Y-%m-%d}, {words}\n", ca.in_lines(document))
        old = CaDirectory(self.root / "old")
        old.load_or_create(datetime.now(timezone.utc) - 2 * CA_LIFETIME)
        self.assertIn(", expired\n", self.said("show", "--ca-dir", str(old.path)))
        self.assertTrue(self.document("--ca-dir", str(old.path))["current"]["expired"])

    def test_chain(self) -> None:
        """An intermediate CA is shown with its chain; a directory on the command line overrides it."""
        self.give_chain()
        document = self.document()
        self.assertEqual((document["current"]["subject"], document["current"]["issuer"]), ("CN=Middle", "CN=Root"))
        self.assertEqual([above["subject"] for above in document["chain"]], ["CN=Root"])
        self.assertIn("above it: CN=Root\n", self.said("show"))
        found = self.document("--ca-dir", str(self.directory.path))
        self.assertEqual(found["current"]["subject"], self.first.subject.rfc4514_string())

    def test_configuration(self) -> None:
        """The configuration file of the proxy is read, whatever other settings it has."""
        del self.environ["EGRESS_CA_DIR"]
        config = self.root / "egress.toml"
        config.write_text('ca-dir = "ca"\npolicy = "/does/not/exist"\n')
        self.assertEqual(self.document("--config", str(config))["current"]["daysLeft"], 3649)
        config.write_text("novel = 1\n")
        self.assertIn("novel in ", self.refused("show", "--config", str(config)))

    def test_no_ca(self) -> None:
        """C{show} makes no CA."""
        empty = self.root / "empty"
        self.assertIn(f"{empty}: there is no CA", self.refused("show", "--ca-dir", str(empty)))
        self.assertFalse(empty.exists())

    def test_keys(self) -> None:
        """The other kinds of keys have names, too."""
        for key, expected in (
            (rsa.generate_private_key(65537, 2048), "RSA 2048"),
            (ed25519.Ed25519PrivateKey.generate(), "Ed25519PublicKey"),
        ):
            issued = TestCA().issue("a.example", key=key)  # type: ignore[arg-type]
            document = ca.describe(Certificates(issued.certificate), self.directory, datetime.now(timezone.utc))
            self.assertEqual(document["current"]["key"], expected)


class ExportTests(CaCommandTestCase):
    """C{egress ca export}."""

    def test_pem(self) -> None:
        """To a world-readable file or to standard output; it contains all trusted certificates, and no key."""
        path = self.root / "out.pem"
        self.assertEqual(self.said("export", str(path)), f"{path}: {self.first.subject.rfc4514_string()}\n")
        self.assertEqual(path.stat().st_mode & 0o777, 0o644)
        self.said("rotate")
        out, _ = self.run_ca("export", "-")
        self.assertEqual(out, self.directory.certificate_path.read_bytes())
        self.assertEqual(len(read_certificates(out)), 2)
        self.said("export", str(path))
        self.assertEqual(path.read_bytes(), out)
        self.assertNotIn(b"PRIVATE", out)
        self.assertEqual({entry.name for entry in self.root.iterdir()}, {"ca", "out.pem"})

    def test_der(self) -> None:
        out, _ = self.run_ca("export", "--format", "der", "-")
        self.assertEqual(x509.load_der_x509_certificate(out), self.first)
        self.said("rotate")
        self.assertIn("DER contains only one certificate", self.refused("export", "--format", "der", "-"))

    def test_trust_store(self) -> None:
        out, _ = self.run_ca("export", "--format", "jks", "--password", "in secret", "-")
        self.assertEqual(out[:8].hex(), "feedfeed00000002")
        other, _ = self.run_ca("export", "--format", "jks", "-")
        self.assertNotEqual(out[-20:], other[-20:])
        self.assertIn("six characters", self.refused("export", "--format", "jks", "--password", "short", "-"))

    def test_chain(self) -> None:
        """Clients trust the root."""
        _, root = self.give_chain()
        self.assertEqual(self.run_ca("export", "-")[0], root.pem)

    def test_unwritable(self) -> None:
        """The error names the file, and an existing file stays unchanged."""
        path = self.root / "no" / "out.pem"
        self.assertIn(f"{path}: No such file or directory", self.refused("export", str(path)))
        directory = self.root / "taken"
        directory.mkdir()
        self.assertIn("Is a directory", self.refused("export", str(directory)))
        path = self.root / "out.pem"
        path.write_bytes(b"before")
        self.patch(os, "replace", disk_full)
        self.assertIn("No space left", self.refused("export", str(path)))
        self.assertEqual(path.read_bytes(), b"before")
        self.assertEqual(len(list(self.root.glob("out.pem*"))), 1)

    def test_device(self) -> None:
        """A device is written to, not replaced."""
        self.said("export", os.devnull)
        self.assertFalse(Path(os.devnull).is_file())


class RotateTests(CaCommandTestCase):
    """C{egress ca rotate}."""

    def test_json(self) -> None:
        """The result of each step is that of egress ca show."""
        self.assertIsNotNone(json.loads(self.said("rotate", "--json"))["next"])
        found = json.loads(self.said("rotate", "--activate", "--json"))
        self.assertEqual((found["next"], len(found["old"])), (None, 1))
        path = self.root / "out.pem"
        found = json.loads(self.said("export", "--json", str(path)))
        self.assertEqual((found["file"], found["format"], len(found["certificates"])), (str(path), "pem", 2))
        self.assertIn("standard output has the certificates", self.refused("export", "--json", "-"))

    def test_steps(self) -> None:
        """Each step prints the next one."""
        said = self.said("rotate", "--days", "30")
        following = self.directory.certificates().following
        assert following is not None
        self.assertEqual((following.not_valid_after_utc - NOW).days, 30)
        self.assertIn(f"{following.subject.rfc4514_string()} is the next CA", said)
        self.assertIn(f"Distribute {self.directory.certificate_path}", said)
        self.assertIn("egress ca rotate --activate", said)
        said = self.said("rotate", "--activate")
        self.assertIn(f"{following.subject.rfc4514_string()} signs now", said)
        self.assertIn("egress ca rotate --retire", said)
        self.assertEqual(published(self.directory), [following, self.first])
        self.assertIn("no earlier CA now", self.said("rotate", "--retire"))
        self.assertEqual(published(self.directory), [following])
        self.said("rotate")
        self.assertIn("discarded", self.said("rotate", "--cancel"))
        self.assertEqual(published(self.directory), [following])

    def test_out_of_order(self) -> None:
        for step, expected in (("activate", "no next CA"), ("retire", "no earlier CA"), ("cancel", "no next CA")):
            self.assertIn(expected, self.refused("rotate", f"--{step}"))

    def test_constraints(self) -> None:
        """From the command line, from the configuration, or as before; C{none} removes them."""
        for text, configured, expected in (
            ("example.com", None, "example.com"),
            (None, None, "example.com"),
            (None, "example.org", "example.org"),
            ("none", "example.org", None),
        ):
            arguments = [] if text is None else ["--ca-name-constraints", text]
            self.environ.pop("EGRESS_CA_NAME_CONSTRAINTS", None)
            if configured is not None:
                self.environ["EGRESS_CA_NAME_CONSTRAINTS"] = configured
            self.said("rotate", *arguments)
            self.said("rotate", "--activate")
            self.assertEqual(self.directory.load(NOW).limits, expected)
        self.assertIn("10.0.0.0/8", self.refused("rotate", "--ca-name-constraints", "10.0.0.1/8"))

    def test_provided_ca(self) -> None:
        """C{rotate} does not replace a CA that the operator provides."""
        self.give_chain()
        self.assertIn("replace its files", self.refused("rotate"))

    def test_days(self) -> None:
        for text in ("0", "-1", "x", "36501"):
            with self.assertRaises(SystemExit) as caught:
                self.patch(sys, "stderr", io.StringIO())
                self.run_ca("rotate", "--days", text)
            self.assertEqual(caught.exception.code, 2)
