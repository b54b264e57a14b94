"""Tests for L{egress.runtime.signing_keys}."""

from __future__ import annotations

import stat

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from twisted.trial.unittest import SynchronousTestCase

from egress.runtime.signing_keys import create_key, public_file, read_public_keys
from tests.files import make_directory


class SigningKeysTests(SynchronousTestCase):
    """The files of a key."""

    def setUp(self) -> None:
        self.path = make_directory(self) / "policy.key"

    def test_create(self) -> None:
        create_key(self.path)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.path.parent.iterdir()}
        self.assertEqual(modes, {"policy.key": 0o600, "policy.key.pub": 0o644})
        key = load_pem_private_key(self.path.read_bytes(), None)
        (public,) = read_public_keys(public_file(self.path))
        self.assertEqual(public.public_bytes_raw(), key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def test_an_existing_key_remains(self) -> None:
        create_key(self.path)
        before = self.path.read_bytes()
        create_key(self.path)
        self.assertEqual(self.path.read_bytes(), before)

    def test_not_public_keys(self) -> None:
        other = ec.generate_private_key(ec.SECP256R1()).public_key()
        pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for content in (b"", b"x", pem):
            with self.subTest(content[:20]):
                self.path.write_bytes(content)
                self.assertRaises(ValueError, read_public_keys, self.path)
