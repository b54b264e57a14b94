"""An issuer of tokens, for tests."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER: Final = "https://issuer.test"
AUDIENCE: Final = "egressproxy"
NOW: Final = 1_800_000_000.0
NAME: Final = "system:serviceaccount:shop:cart"

# Keys are expensive to make.
RSA: Final = rsa.generate_private_key(65537, 2048)
P256: Final = ec.generate_private_key(ec.SECP256R1())
ED25519: Final = ed25519.Ed25519PrivateKey.generate()
KEYS: Final[dict[str, Any]] = {"RS256": RSA, "PS256": RSA, "ES256": P256, "EdDSA": ED25519}


def encoded(value: bytes) -> bytes:
    """Encode a part of a token."""
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def as_jwk(private: Any, key_id: str | None = "k1", **members: Any) -> dict[str, Any]:
    """Return the public key of a private key as a JSON Web Key; a member that is C{None} is left out."""
    public = private.public_key()

    def number(value: int, size: int) -> str:
        return encoded(value.to_bytes(size, "big")).decode()

    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        found: dict[str, Any] = {"kty": "RSA", "n": number(numbers.n, public.key_size // 8), "e": "AQAB"}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_numbers()
        size = (public.key_size + 7) // 8
        names = {"secp256r1": "P-256", "secp384r1": "P-384"}
        found = {"kty": "EC", "crv": names[public.curve.name], "x": number(point.x, size), "y": number(point.y, size)}
    else:
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        found = {"kty": "OKP", "crv": "Ed25519", "x": encoded(raw).decode()}
    found |= {"kid": key_id, "use": "sig", **members}
    return {name: value for name, value in found.items() if value is not None}


def key_set(*keys: dict[str, Any]) -> bytes:
    """Return a key set."""
    return json.dumps({"keys": keys or [as_jwk(P256)]}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid token; a claim that is C{None} is left out."""
    found = {"iss": ISSUER, "aud": [AUDIENCE], "sub": NAME, "exp": int(NOW) + 600, "iat": int(NOW), "nbf": int(NOW)}
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


def with_claims(changes: dict[str, Any]) -> bytes:
    """Return a token with changed claims."""
    return token(**changes)


def token(algorithm: str = "ES256", key: Any = None, header: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """Return a token; changed members of the header that are C{None} are left out."""
    members = {"kid": "k1", "typ": "JWT", **(header or {})}
    return raw_token(
        {"alg": algorithm, **{name: value for name, value in members.items() if value is not None}},
        claims(**changes),
        KEYS[algorithm] if key is None else key,
    )


def raw_token(header: dict[str, Any] | bytes, payload: dict[str, Any] | bytes, key: Any, algorithm: str = "") -> bytes:
    """Sign any header and any payload."""
    parts = [encoded(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, payload)]
    data = b".".join(parts)
    if key is None:
        return data + b"."
    name = algorithm or (header["alg"] if isinstance(header, dict) else "ES256")
    method = jwt.algorithms.get_default_algorithms()[name]
    return data + b"." + encoded(method.sign(data, key))
