"""Files with Ed25519 keys: the private key of a signer, and the public keys that others trust."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from egress.runtime.private_file import MAX_BYTES
from egress.runtime.safe_files import Folder, heir_of, read_plain

_PEM: Final = re.compile(b"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def public_file(path: Path) -> Path:
    """Return the file with the public key."""
    return path.with_name(f"{path.name}.pub")


def create_key(path: Path) -> None:
    """Create both files; of several processes, one creates the key.

    @raise OSError: if they cannot be created.
    """
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with Folder(path.parent) as folder:
        owner = heir_of(folder.state)
        temporary = folder.create(path.name, private, 0o600, owner)
        try:
            folder.link(temporary, path.name)
        except FileExistsError:
            return
        finally:
            folder.remove(temporary)
        # The keys from before a replacement remain trusted.
        with suppress(OSError):
            public += read_plain(public_file(path), MAX_BYTES - len(public))
        folder.put(public_file(path).name, public, 0o644, owner)


def read_public_keys(path: Path) -> list[Ed25519PublicKey]:
    """Read public keys.

    @raise OSError: if the file cannot be read.
    @raise ValueError: if it has no key, or another kind of key.
    """
    content = read_plain(path, MAX_BYTES)
    try:
        keys = [load_pem_public_key(found) for found in _PEM.findall(content)] or [load_pem_public_key(content)]
    except UnsupportedAlgorithm as error:
        raise ValueError("another kind of key") from error
    found = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if len(found) != len(keys):
        raise ValueError("another kind of key")
    return found
