"""The keys of an issuer of tokens: a JSON Web Key Set (RFC 7517), limited to keys that are safe to use.

PyJWT makes the keys.  It is imported with the first key set, because most proxies have none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from importlib import import_module
from typing import Any, Final

import attrs

MAX_KEYS: Final = 100
MAX_BYTES: Final = 64 * 1024
MAX_KEY_ID: Final = 256
# RFC 7518 section 3.3; and the largest keys that issuers use, because a larger key makes a check expensive.
_RSA_BITS: Final = range(2048, 8193)
INSTALL: Final = "pip install 'egressproxy[jwt]'"

# The algorithms of each kind of key: its type, and its curve (RFC 7518, RFC 8037).
_ALGORITHMS: Final = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("OKP", "Ed25519"): ("EdDSA",),
}


class InvalidKeys(ValueError):
    """A key set that cannot be used.

    @ivar reason: one clause.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidObject(ValueError):
    """A text that is no JSON object, or one that two parsers could read differently."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidObject("a member is repeated")
    return members


def _constant(name: str) -> Any:
    raise InvalidObject(f"{name} is not a JSON number")


_decode: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant).decode


def parse_object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    @raise InvalidObject: for any other content, and for a repeated member at any depth.
    """
    try:
        found = _decode(content.decode("utf-8"))
    except InvalidObject:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidObject("it is not JSON") from error
    if not isinstance(found, dict):
        raise InvalidObject("it is not an object")
    return found


def load_pyjwt() -> Any:
    """Import PyJWT.

    @raise InvalidKeys: if it is not installed.
    """
    try:
        return import_module("jwt")
    except ImportError as error:
        raise InvalidKeys(f"needs the library PyJWT: {INSTALL}") from error


@attrs.frozen
class IssuerKey:
    """A public key.

    @ivar algorithms: the algorithms for which it may be used.
    @ivar key: the key, as PyJWT takes it.
    """

    algorithms: tuple[str, ...]
    key: Any = attrs.field(repr=False)


@attrs.frozen(eq=False)
class KeySet:
    """The keys of an issuer at one time.

    @ivar digest: the hash of the document.
    """

    digest: bytes
    _keys: Mapping[str, IssuerKey]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key_id: str) -> IssuerKey | None:
        """Return the key with an id."""
        return self._keys.get(key_id)

    @classmethod
    def parse(cls, content: bytes, allowed: Sequence[str]) -> KeySet:
        """Parse a key set.

        Keys for other purposes and with other algorithms are ignored, because an issuer can publish them, too.

        @param content: the document.
        @param allowed: the algorithms that the operator allows.
        @raise InvalidKeys: if it is no key set, if two keys have one id, or if it contains a private key.
        """
        if len(content) > MAX_BYTES:
            raise InvalidKeys(f"the key set is over {MAX_BYTES} bytes")
        try:
            found = parse_object(content).get("keys")
        except InvalidObject as error:
            raise InvalidKeys(f"the key set cannot be parsed: {error}") from error
        if not isinstance(found, list) or len(found) > MAX_KEYS or not all(isinstance(each, dict) for each in found):
            raise InvalidKeys(f"the key set has no list of at most {MAX_KEYS} keys")
        keys: dict[str, IssuerKey] = {}
        for key_id, key in _usable(found, allowed):
            if key_id in keys:
                raise InvalidKeys("two keys of the key set have the same id")
            keys[key_id] = key
        if not keys:
            raise InvalidKeys(f"the key set has no key with an id for {', '.join(allowed)}")
        return cls(sha256(content).digest(), keys)


def _usable(found: Sequence[dict[str, Any]], allowed: Sequence[str]) -> Iterator[tuple[str, IssuerKey]]:
    for each in found:
        # "d" is the private part of every asymmetric key, and "k" is a shared secret (RFC 7518 section 6).
        if "d" in each or "k" in each:
            raise InvalidKeys("the key set contains a secret key: publish only public keys")
        key_id, algorithms = each.get("kid"), _algorithms(each, allowed)
        if isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID and algorithms:
            yield key_id, IssuerKey(algorithms, _key(each, algorithms[0]))


def _algorithms(jwk: dict[str, Any], allowed: Sequence[str]) -> tuple[str, ...]:
    """Return the algorithms for which a key may be used: all that fit its type, unless it names only one of them."""
    kind, curve = jwk.get("kty"), jwk.get("crv")
    if not isinstance(kind, str) or not isinstance(curve, str | None):
        return ()
    operations = jwk.get("key_ops", ["verify"])
    signs = jwk.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    named = jwk.get("alg")
    found = _ALGORITHMS.get((kind, curve), ()) if signs else ()
    return tuple(each for each in found if each in allowed and named in (None, each))


def _key(jwk: dict[str, Any], algorithm: str) -> Any:
    pyjwt = load_pyjwt()
    try:
        key = pyjwt.PyJWK(jwk, algorithm=algorithm).key
    except (pyjwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise InvalidKeys("a key of the key set is not valid") from error
    if jwk["kty"] == "RSA" and key.key_size not in _RSA_BITS:
        raise InvalidKeys(f"an RSA key of the key set has {key.key_size} bits: use 2048 bits or more, at most 8192")
    return key
