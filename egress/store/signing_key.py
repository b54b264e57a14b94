"""The file with the key that signs the records of the audit store."""

from __future__ import annotations

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


def public_file(path: Path) -> Path:
    """Return the file with the public key."""
    return path.with_name(f"{path.name}.pub")


def load_signer(path: Path) -> Signer:
    """Read the key, or create it for only its owner if the file does not exist; then write the public key, too.

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
    return Signer(key)


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
        folder.put(public_file(path).name, public, 0o644, owner)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key.

    @raise StoreError: naming the problem and the fix.
    """
    try:
        key = load_pem_public_key(read_plain(path, MAX_BYTES))
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}: specify the public key with --key") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StoreError(f"{path}: must be a public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise StoreError(f"{path}: must be an Ed25519 key")
    return key
