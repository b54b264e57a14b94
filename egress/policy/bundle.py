"""Policy bundles: the documents of a policy, their version and their signatures in one file.

A bundle is an envelope of DSSE (https://github.com/secure-systems-lab/dsse), in JSON.  Its payload is a JSON object
with the documents.  A signature covers the bytes of the payload and its type, so nothing in it is parsed before it is
verified.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE: Final = "application/vnd.egressproxy.policy+json"
MAX_VERSION: Final = 2**53 - 1
MAX_SIGNATURES: Final = 16
_PATH_PART: Final = re.compile(r"[^/\\\x00-\x1f\x7f]+")


class InvalidBundle(Exception):
    """A bundle that cannot be used.

    @ivar reason: the problem and the fix, in one line.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.frozen
class Bundle:
    """The content of a bundle.

    @ivar version: its number; a later bundle has a higher one.
    @ivar main: the name of the main document.
    @ivar documents: the texts of the documents by their names, which are relative paths with slashes.
    """

    version: int
    main: str
    documents: Mapping[str, str]


def is_bundle(content: bytes) -> bool:
    """Tell whether a file is a bundle: no TOML document begins with a brace."""
    return content.lstrip(b" \t\r\n")[:1] == b"{"


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key in the signatures of a bundle, which is a hint only."""
    return sha256(key.public_bytes_raw()).hexdigest()[:16]


def encode_bundle(bundle: Bundle, keys: Sequence[Ed25519PrivateKey]) -> bytes:
    """Write a bundle.

    @param keys: the keys that sign it; empty: it is not signed.
    @raise InvalidBundle: if the bundle would not be accepted.
    """
    document = {"version": bundle.version, "main": bundle.main, "documents": dict(bundle.documents)}
    payload = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    _parse(payload)
    signed = _signed_bytes(payload)
    signatures = [{"keyid": key_id(key.public_key()), "sig": _encode(key.sign(signed))} for key in keys]
    envelope = {"payloadType": PAYLOAD_TYPE, "payload": _encode(payload), "signatures": signatures}
    return json.dumps(envelope, indent=1).encode("ascii") + b"\n"


def decode_bundle(content: bytes, keys: Sequence[Ed25519PublicKey] | None) -> Bundle:
    """Verify and read a bundle.

    @param content: the file.
    @param keys: the pinned keys, of which one must have signed it; C{None}: no signature is required.
    @raise InvalidBundle: if no pinned key has signed it, or it is not a bundle.
    """
    envelope = _object(content, "the bundle")
    kind, encoded, signatures = (envelope.get(name) for name in ("payloadType", "payload", "signatures"))
    if kind != PAYLOAD_TYPE or not isinstance(encoded, str) or not isinstance(signatures, list):
        raise InvalidBundle("is not a bundle of egress policy bundle")
    payload = _decode(encoded)
    if keys is not None:
        _verify(_signed_bytes(payload), signatures, keys)
    return _parse(payload)


def _verify(signed: bytes, signatures: Sequence[object], keys: Sequence[Ed25519PublicKey]) -> None:
    if not signatures:
        raise InvalidBundle("has no signature: sign it with egress policy bundle --key FILE")
    if len(signatures) > MAX_SIGNATURES:
        raise InvalidBundle(f"has more than {MAX_SIGNATURES} signatures")
    for entry in signatures:
        text = entry.get("sig") if isinstance(entry, dict) else None
        if not isinstance(text, str):
            raise InvalidBundle("has a signature that is not valid")
        signature = _decode(text)
        if any(_has_signed(key, signature, signed) for key in keys):
            return
    raise InvalidBundle("has no valid signature of a key in --policy-key")


def _has_signed(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def _signed_bytes(payload: bytes) -> bytes:
    """Return the bytes that a signature covers: the pre-authentication encoding of DSSE version 1."""
    kind = PAYLOAD_TYPE.encode("ascii")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _parse(payload: bytes) -> Bundle:
    table = _object(payload, "the payload of the bundle")
    version, main, documents = (table.get(name) for name in ("version", "main", "documents"))
    if isinstance(version, bool) or not isinstance(version, int) or not 0 < version <= MAX_VERSION:
        raise InvalidBundle(f"'version' must be a whole number from 1 to {MAX_VERSION}")
    if not isinstance(documents, dict) or not all(isinstance(text, str) for text in documents.values()):
        raise InvalidBundle("'documents' must be an object with the text of each document")
    for name in documents:
        if not all(_is_path_part(part) for part in name.split("/")):
            raise InvalidBundle(f"the name {name!a} of a document is not a relative path")
    if not isinstance(main, str) or main not in documents:
        raise InvalidBundle("'main' must be the name of a document")
    return Bundle(version, main, documents)


def _is_path_part(part: str) -> bool:
    return part not in (".", "..") and _PATH_PART.fullmatch(part) is not None


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(content.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError):
        raise InvalidBundle(f"{what} is not JSON in UTF-8 without duplicate names") from None
    if not isinstance(found, dict):
        raise InvalidBundle(f"{what} is not a JSON object")
    return found


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is repeated")
    return found


def _encode(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def _decode(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise InvalidBundle("has a value that is not base64") from None
