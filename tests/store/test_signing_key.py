"""Tests for L{egress.store.signing_key}."""

from __future__ import annotations

import stat
from pathlib import Path
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from egress.config.model import ConfigError
from egress.runtime.signing_keys import public_file
from egress.store import signing_key as module
from egress.store.interfaces import StoreError
from egress.store.signing_key import load_signer, read_public_keys
from tests.files import make_directory


class SigningKeyTests(SynchronousTestCase):
    """The files of the key."""

    def setUp(self) -> None:
        self.path = make_directory(self) / "audit.key"

    def test_create(self) -> None:
        """The key is only for its owner; the second start uses the same one."""
        signer = load_signer(self.path)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.path.parent.iterdir()}
        self.assertEqual(modes, {"audit.key": 0o600, "audit.key.pub": 0o644})
        before = self.path.read_bytes()
        again = load_signer(self.path)
        self.assertEqual(self.path.read_bytes(), before)
        block = signer.block(1, bytes(32), 1, [])
        self.assertEqual(again.block(1, bytes(32), 1, []), block)
        (public,) = read_public_keys(public_file(self.path))
        public.verify(block.signature, b"egressproxy audit block 1\0" + block.digest)

    def test_concurrent_creation(self) -> None:
        """Of two processes that create the key, both use that of the first one."""
        first = load_signer(self.path).block(1, bytes(32), 1, [])
        with mock.patch.object(module, "read_secret", side_effect=[None, self.path.read_bytes()]):
            self.assertEqual(load_signer(self.path).block(1, bytes(32), 1, []), first)
        self.assertEqual(len(list(self.path.parent.iterdir())), 2)

    def test_trusted_keys(self) -> None:
        """The file with the public key can have further ones; those from before a replacement remain in it."""
        load_signer(self.path)
        (old,) = read_public_keys(public_file(self.path))
        self.path.unlink()
        signer = load_signer(self.path)
        new, kept = read_public_keys(public_file(self.path))
        self.assertEqual(kept.public_bytes_raw(), old.public_bytes_raw())
        self.assertNotEqual(new.public_bytes_raw(), old.public_bytes_raw())
        anchor = signer.anchor(1, bytes(32), -1, 1)
        self.assertIsNotNone(signer.advance(anchor, [], 1))
        public_file(self.path).unlink()
        self.assertIsNotNone(load_signer(self.path).advance(anchor, [], 1))
        public_file(self.path).write_bytes(b"x")
        error = self.assertRaises(ConfigError, load_signer, self.path)
        self.assertIn("must be Ed25519 public keys in PEM", str(error))
        public_file(self.path).unlink()
        public_file(self.path).mkdir()
        self.assertIn("cannot be read", str(self.assertRaises(ConfigError, load_signer, self.path)))

    def test_exposed(self) -> None:
        load_signer(self.path)
        self.path.chmod(0o644)
        self.refuse("run chmod 600")

    def test_other_files(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        for content, remedy in (
            (b"", "must be an Ed25519 key in PEM, without a password"),
            (
                key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
                "must be an Ed25519 key: specify a file that does not exist yet",
            ),
        ):
            self.path.write_bytes(content)
            self.path.chmod(0o600)
            self.refuse(remedy)
        self.path = self.path.parent / "absent" / "audit.key"
        self.refuse("cannot be read or created: No such file or directory")

    def refuse(self, remedy: str) -> None:
        error = self.assertRaises(ConfigError, load_signer, self.path)
        self.assertEqual(error.option, "--audit-signing-key")
        self.assertIn(remedy, error.remedy)

    def test_public_key(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        self.path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        for path, problem in (
            (self.path, "must be Ed25519 public keys in PEM"),
            (Path(__file__), "must be Ed25519 public keys in PEM"),
            (self.path.with_name("absent"), "cannot be read: No such file or directory: specify the public key"),
        ):
            with self.subTest(path.name):
                self.assertIn(problem, str(self.assertRaises(StoreError, read_public_keys, path)))
