"""The file with the key that signs the records of the audit store."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
)

from egress.model.converters import ConfigError
from egress.runtime.private_file import ExposedFile, read_secret
from egress.runtime.signing_keys import create_key, public_file
from egress.runtime.signing_keys import read_public_keys as keys_of
from egress.store.chain import Signer
from egress.store.interfaces import StoreError

_OPTION: Final = "--audit-signing-key"


def load_signer(path: Path) -> Signer:
    """Read the key, or create it for only its owner if the file does not exist; then write the public key, too.

    The signer also trusts the other keys of the file with the public key.

    @raise ConfigError: naming the problem and the fix.
    """
    try:
        pem = read_secret(path)
        if pem is None:
            create_key(path)
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
        return Signer(key, keys_of(public_file(path)))
    except FileNotFoundError:
        return Signer(key)
    except OSError as error:
        raise ConfigError(_OPTION, str(public_file(path)), f"cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(_OPTION, str(public_file(path)), "must be Ed25519 public keys in PEM") from error


def read_public_keys(path: Path) -> list[Ed25519PublicKey]:
    """Read a file with one or more public keys.

    @raise StoreError: naming the problem and the fix.
    """
    try:
        return keys_of(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}: specify the public key with --key") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StoreError(f"{path}: must be Ed25519 public keys in PEM") from error
