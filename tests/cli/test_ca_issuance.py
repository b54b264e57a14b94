"""Tests for L{egress.cli.ca_issuance}."""

from __future__ import annotations

import argparse
import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.cli.ca_issuance import days
from egress.tls.issuer import fingerprint_of, read_certificates
from egress.tls.name_constraints import constraints_of, describe
from egress.tls.provided_ca import ProvidedCa
from tests.certificates import TestCA, key_pem_of, new_key
from tests.cli.running import CommandTestCase
from tests.files import disk_full

# Certificates have whole seconds.
NOW = datetime.now(timezone.utc).replace(microsecond=0)


class IssuanceTestCase(CommandTestCase):
    """Base: files in one directory."""

    def path(self, name: str) -> Path:
        return self.directory / name

    def said(self, *arguments: str) -> str:
        status, out, err = self.run_egress("ca", *self.located(arguments))
        self.assertEqual((status, err), (0, ""))
        return out

    def refused(self, *arguments: str) -> str:
        status, out, err = self.run_egress("ca", *self.located(arguments))
        self.assertEqual((status, out, err.count("\n")), (1, "", 1), err)
        return err

    def located(self, arguments: tuple[str, ...]) -> list[str]:
        return [str(self.path(each)) if each.endswith((".pem", ".csr")) else each for each in arguments]

    def sign(self, *options: str, name: str = "one") -> tuple[str, ...]:
        return (
            *("sign", "--root", "root.pem", "--root-key", "root-key.pem", *options),
            *(f"{name}.csr", f"{name}.pem"),
        )

    def replica(self, *options: str, name: str = "one") -> ProvidedCa:
        """Make the CA of a replica."""
        self.said("request", f"{name}-key.pem", f"{name}.csr")
        self.said(*self.sign(*options, name=name))
        return ProvidedCa(self.path(f"{name}.pem"), self.path(f"{name}-key.pem"))


class IssuanceTests(IssuanceTestCase):
    """A root, and a CA for each of two replicas."""

    def test_replicas(self) -> None:
        text = self.said("root", "root.pem", "root-key.pem")
        self.assertIn("clients must trust it", text)
        (root,) = read_certificates(self.path("root.pem").read_bytes())
        self.assertIn("egressproxy CA root ", root.subject.rfc4514_string())
        one, two = self.replica(name="one"), self.replica(name="two")
        found = [each.load(NOW + timedelta(minutes=1)) for each in (one, two)]
        self.assertEqual([each.root for each in found], [root, root])
        self.assertNotEqual(found[0].fingerprint, found[1].fingerprint)
        self.assertEqual(one.certificates().trusted(NOW), (root,))
        for name in ("root-key.pem", "one-key.pem"):
            self.assertEqual(self.path(name).stat().st_mode & 0o777, 0o600)
        self.assertEqual(len(list(self.directory.iterdir())), 8)

    def test_options(self) -> None:
        """The validity, and the hosts."""
        self.said("root", "--days", "400", "--ca-name-constraints", "example.com,internal", "root.pem", "root-key.pem")
        (root,) = read_certificates(self.path("root.pem").read_bytes())
        self.assertEqual((root.not_valid_after_utc - NOW).days, 400)
        first = self.replica().load(NOW + timedelta(minutes=1)).certificate
        self.assertEqual((first.not_valid_after_utc - NOW).days, 90)
        self.assertEqual(constraints_of(first), constraints_of(root))
        text = self.said(*self.sign("--days", "7", "--ca-name-constraints", "a.example.com"))
        (second, _) = read_certificates(self.path("one.pem").read_bytes())
        limits = constraints_of(second)
        assert limits is not None
        self.assertEqual((second.not_valid_after_utc - NOW).days, 7)
        self.assertEqual(describe(limits), "a.example.com")
        self.assertIn("signs for a.example.com", text)
        self.said(*self.sign("--ca-name-constraints", "none"))
        (third, _) = read_certificates(self.path("one.pem").read_bytes())
        self.assertEqual(constraints_of(third), constraints_of(root))

    def test_renewed(self) -> None:
        """A request for an existing key does not change the key."""
        self.said("root", "root.pem", "root-key.pem")
        before = self.replica().load(NOW + timedelta(minutes=1))
        key = self.path("one-key.pem").read_bytes()
        after = self.replica().load(NOW + timedelta(minutes=1))
        self.assertEqual(self.path("one-key.pem").read_bytes(), key)
        self.assertEqual(before.certificate.public_key(), after.certificate.public_key())
        self.assertNotEqual(before.fingerprint, after.fingerprint)

    def test_json(self) -> None:
        document: dict[str, Any] = json.loads(self.said("root", "--json", "root.pem", "root-key.pem"))
        (root,) = read_certificates(self.path("root.pem").read_bytes())
        self.assertEqual(document["sha256"], fingerprint_of(root))
        self.assertEqual(document["key"], str(self.path("root-key.pem")))
        document = json.loads(self.said("request", "--json", "one-key.pem", "one.csr"))
        self.assertEqual(document["request"], str(self.path("one.csr")))
        document = json.loads(self.said(*self.sign("--json", "--ca-name-constraints", "a.test")))
        self.assertEqual((document["nameConstraints"], document["key"]), ("a.test", None))

    def test_other_roots(self) -> None:
        """A CA of the organization can sign; the output names the root that clients trust."""
        root = TestCA("Root")
        middle = TestCA("Middle", root)
        self.write("root.pem", middle.pem)
        self.write("root-key.pem", key_pem_of(middle.key))
        self.path("root-key.pem").chmod(0o600)
        self.said("request", "one-key.pem", "one.csr")
        self.assertIn("set --ca-root", self.said(*self.sign()))
        self.write("top.pem", root.pem)
        found = ProvidedCa(self.path("one.pem"), self.path("one-key.pem"), self.path("top.pem"))
        self.assertEqual(found.load(NOW).root, root.certificate)


class RejectedTests(IssuanceTestCase):
    """Each error names the file and the fix."""

    def setUp(self) -> None:
        super().setUp()
        self.said("root", "root.pem", "root-key.pem")
        self.said("request", "one-key.pem", "one.csr")

    def test_existing_key(self) -> None:
        """It is never replaced."""
        key = self.path("root-key.pem").read_bytes()
        self.assertIn("root-key.pem: exists already", self.refused("root", "new.pem", "root-key.pem"))
        self.assertEqual(self.path("root-key.pem").read_bytes(), key)
        self.assertFalse(self.path("new.pem").exists())

    def test_keys(self) -> None:
        self.path("root-key.pem").chmod(0o644)
        self.assertIn("chmod 600", self.refused(*self.sign()))
        self.path("root-key.pem").chmod(0o600)
        self.path("root-key.pem").write_bytes(key_pem_of(new_key()))
        self.assertIn("does not belong to its certificate", self.refused(*self.sign()))
        self.path("root-key.pem").unlink()
        self.assertIn("is missing; specify the key", self.refused(*self.sign()))
        self.path("root-key.pem").mkdir()
        self.assertIn("Is a directory", self.refused(*self.sign()))
        self.path("one-key.pem").write_bytes(b"garbage")
        self.assertIn("cannot be read as PEM", self.refused("request", "one-key.pem", "one.csr"))

    def test_files(self) -> None:
        self.path("one.csr").write_bytes(b"garbage")
        self.assertIn("one.csr: contains no certificate signing request", self.refused(*self.sign()))
        self.path("one.csr").unlink()
        self.assertIn("one.csr: No such file", self.refused(*self.sign()))
        self.path("root.pem").write_bytes(b"garbage")
        self.assertIn("specify a certificate in PEM", self.refused(*self.sign()))
        missing = os.path.join("missing", "x.pem")
        self.assertIn("missing/x.pem: No such file", self.refused("root", "new.pem", missing))

    def test_not_written(self) -> None:
        self.patch(os, "replace", disk_full)
        self.assertIn("specify a file in a writable directory", self.refused(*self.sign()))


class DaysTests(SynchronousTestCase):
    """The validity."""

    def test_days(self) -> None:
        self.assertEqual((days("1"), days("36500")), (1, 36500))
        for text in ("0", "36501", "-1", "x", "1.5", ""):
            self.assertRaises(argparse.ArgumentTypeError, days, text)
