"""The file with the key that signs the records of the audit store."""

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
    load_pem_private_key,
    load_pem_public_key,
)

from egress.config.model import ConfigError
from egress.runtime.private_file import MAX_BYTES, ExposedFile, read_secret
from egress.runtime.safe_files import Folder, heir_of, read_plain
from egress.store.chain import Signer
from egress.store.interfaces import StoreError

_OPTION: Final = "--audit-signing-key"
_PEM: Final = re.compile(b"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


def public_file(path: Path) -> Path:
    """Return the file with the public key."""
    return path.with_name(f"{path.name}.pub")


def load_signer(path: Path) -> Signer:
    """Read the key, or create it for only its owner if the file does not exist; then write the public key, too.

    The signer also trusts the other keys of the file with the public key.

    @raise ConfigError: naming the problem and the fix.
    """
    try:
        pem = read_secret(path)
        if pem is None:
            _create(path)
            pem = read_secret(path) or b""
        key = load_pem_private_key(pem, None)
    except ExposedFile as error:
        raise ConfigError(_OPTION, "", error.reason) from error
    except OSError as error:
        raise ConfigError(_OPTION, str(path), f"cannot be read or created: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(_OPTION, str(path), "must be an Ed25519 key in PEM, without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(_OPTION, str(path), "must be an Ed25519 key: specify a file that does not exist yet")
    try:
        return Signer(key, _public_keys(public_file(path)))
    except FileNotFoundError:
        return Signer(key)
    except OSError as error:
        raise ConfigError(_OPTION, str(public_file(path)), f"cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(_OPTION, str(public_file(path)), "must be Ed25519 public keys in PEM") from error


def _create(path: Path) -> None:
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
    """Read a file with one or more public keys.

    @raise StoreError: naming the problem and the fix.
    """
    try:
        return _public_keys(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}: specify the public key with --key") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StoreError(f"{path}: must be Ed25519 public keys in PEM") from error


def _public_keys(path: Path) -> list[Ed25519PublicKey]:
    """Read public keys.

    @raise OSError: if the file cannot be read.
    @raise ValueError: if it has no key, or another kind of key.
    """
    content = read_plain(path, MAX_BYTES)
    keys = [load_pem_public_key(found) for found in _PEM.findall(content)] or [load_pem_public_key(content)]
    found = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if len(found) != len(keys):
        raise ValueError("another kind of key")
    return found
