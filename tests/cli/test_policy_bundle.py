"""Tests for L{egress.cli.policy_bundle}."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from egress.cli.main import main
from egress.policy.bundle import key_id
from egress.policy.parse.load import PolicyError, load_policy
from egress.runtime.signing_keys import read_public_keys
from tests.files import make_directory

ALLOW = 'version = 1\n[[rules]]\naction = "allow"\nhosts = ["a.test"]\n'


class BundleTests(SynchronousTestCase):
    """Policies are put into a bundle and signed."""

    def setUp(self) -> None:
        self.directory = make_directory(self).absolute()
        self.policy, self.output = self.directory / "policy.toml", self.directory / "policy.bundle"
        self.policy.write_text(ALLOW)
        self.key = self.directory / "policy.key"

    def egress(self, *arguments: str | Path) -> tuple[int, str]:
        """Run the command, and return its status and its output."""
        out, errors = io.StringIO(), io.StringIO()
        with redirect_stderr(errors):
            status = main(["policy", *map(str, arguments)], {}, out)
        return status, out.getvalue() + errors.getvalue()

    def test_sign(self) -> None:
        status, output = self.egress("keygen", self.key)
        self.assertEqual(status, 0, output)
        self.assertIn("policy.key.pub", output)
        status, output = self.egress("bundle", self.policy, "--key", self.key, "-o", self.output, "--version", "7")
        self.assertEqual(status, 0, output)
        self.assertIn("version 7", output)
        keys = read_public_keys(self.directory / "policy.key.pub")
        rules = load_policy(self.output, keys)
        self.assertEqual((rules.version, rules.files, len(rules.rules)), (7, (self.output,), 1))
        self.assertEqual(rules.rules[0].where, f"{self.output}/policy.toml:2")
        self.egress("keygen", self.directory / "other.key")
        others = read_public_keys(self.directory / "other.key.pub")
        self.assertRaises(PolicyError, load_policy, self.output, others)
        self.assertRaises(PolicyError, load_policy, self.policy, keys)

    def test_json(self) -> None:
        status, output = self.egress("keygen", self.key, "--json")
        self.assertEqual((status, json.loads(output)["publicKey"]), (0, f"{self.key}.pub"))
        arguments = ("bundle", self.policy, "--key", self.key, "-o", self.output, "--version", "7", "--json")
        status, output = self.egress(*arguments)
        (public,) = read_public_keys(self.directory / "policy.key.pub")
        expected = {"file": str(self.output), "version": 7, "documents": 1, "keys": [key_id(public)]}
        self.assertEqual((status, json.loads(output)), (0, expected))

    def test_unsigned(self) -> None:
        with mock.patch("time.time", return_value=1_700_000_000.9):
            status, output = self.egress("bundle", self.policy, "-o", self.output)
        self.assertEqual(status, 0, output)
        self.assertEqual(load_policy(self.output).version, 1_700_000_000)

    def test_included_files(self) -> None:
        """The names of documents are relative to the directory that contains all files."""
        for name, text in (
            ("prod/policy.toml", 'version = 1\ninclude = ["../shared/a.toml", "b.toml"]\n'),
            ("shared/a.toml", ALLOW),
            ("prod/b.toml", ALLOW.replace("a.test", "b.test")),
        ):
            path = self.directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        status, output = self.egress("bundle", self.directory / "prod" / "policy.toml", "-o", self.output)
        self.assertEqual(status, 0, output)
        for name in ("prod", "shared"):
            os.rename(self.directory / name, self.directory / f"{name}-moved")
        rules = load_policy(self.output)
        self.assertEqual(
            [rule.where for rule in rules.rules],
            [f"{self.output}/shared/a.toml:2", f"{self.output}/prod/b.toml:2"],
        )

    def test_absolute_includes(self) -> None:
        """They would be other files on another machine."""
        other = self.directory / "other.toml"
        other.write_text(ALLOW)
        self.policy.write_text(f'version = 1\ninclude = ["{other}"]\n')
        status, output = self.egress("bundle", self.policy, "-o", self.output)
        self.assertEqual(status, 2)
        self.assertIn("is not in the bundle", output)
        self.assertFalse(self.output.exists())

    def test_faults(self) -> None:
        self.egress("keygen", self.key)
        other = self.directory / "other.key"
        wrong = ec.generate_private_key(ec.SECP256R1())
        other.write_bytes(wrong.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        other.chmod(0o600)
        exposed = self.directory / "exposed.key"
        exposed.write_bytes(self.key.read_bytes())
        exposed.chmod(0o644)
        damaged = self.directory / "damaged.key"
        damaged.write_text("x")
        damaged.chmod(0o600)
        bad = self.directory / "bad.toml"
        bad.write_text("garbage")
        self.egress("bundle", self.policy, "-o", self.output)
        to = ("-o", str(self.directory / "new.bundle"))
        for arguments, words in (
            (("keygen", self.key), "exists"),
            (("keygen", self.directory / "missing" / "key"), "cannot be written"),
            (("bundle", self.directory / "missing", *to), "cannot be read"),
            (("bundle", bad, *to), "is not TOML"),
            (("bundle", self.output, *to), "is a bundle already"),
            (("bundle", self.policy, *to, "-k", self.directory / "missing"), "egress policy keygen"),
            (("bundle", self.policy, *to, "-k", self.directory), "cannot be read"),
            (("bundle", self.policy, *to, "-k", other), "must be an Ed25519 key"),
            (("bundle", self.policy, *to, "-k", exposed), "chmod 600"),
            (("bundle", self.policy, *to, "-k", damaged), "in PEM"),
        ):
            with self.subTest(words):
                status, output = self.egress(*arguments)
                self.assertEqual(status, 2, output)
                self.assertIn(words, output)

    def test_invalid_versions(self) -> None:
        for version in ("0", "-1", "x", "9" * 16, "\u0661"):
            with self.subTest(version), redirect_stderr(io.StringIO()):
                arguments = ["policy", "bundle", str(self.policy), "-o", str(self.output), "--version", version]
                self.assertRaises(SystemExit, main, arguments, {}, io.StringIO())
