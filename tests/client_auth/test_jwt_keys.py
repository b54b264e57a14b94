"""Tests for L{egress.client_auth.jwt_keys}."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.trial.unittest import SynchronousTestCase

from egress.client_auth import jwt_keys
from egress.client_auth.jwt_keys import (
    MAX_BYTES,
    MAX_KEYS,
    InvalidKeys,
    InvalidObject,
    KeySet,
    load_pyjwt,
    parse_object,
)
from egress.model.jwt_issuer import ALGORITHMS
from tests.client_auth.jwt_issuer import ED25519, P256, RSA, as_jwk, key_set


class ObjectTests(SynchronousTestCase):
    """L{parse_object}."""

    def test_objects(self) -> None:
        self.assertEqual(parse_object(b'{"a": {"b": [1, "\\u00e9"]}}'), {"a": {"b": [1, "\u00e9"]}})

    def test_invalid(self) -> None:
        for content in (
            b"",
            b"[]",
            b'"a"',
            b"{",
            b"\xff{}",
            b'{"a": 1, "a": 1}',
            b'{"a": {"b": 1, "b": 2}}',
            b'{"a": NaN}',
            b'{"a": Infinity}',
            b'{"a": ' + b"[" * 100_000,
            b'{"a": ' + b"9" * 10_000 + b"}",
        ):
            with self.subTest(content[:20]):
                self.assertRaises(InvalidObject, parse_object, content)


class KeySetTests(SynchronousTestCase):
    """L{KeySet.parse}."""

    def parse(self, *keys: Any, allowed: tuple[str, ...] = ALGORITHMS) -> KeySet:
        return KeySet.parse(json.dumps({"keys": keys}).encode(), allowed)

    def fault(self, *keys: Any, allowed: tuple[str, ...] = ALGORITHMS) -> str:
        reason: str = self.assertRaises(InvalidKeys, self.parse, *keys, allowed=allowed).reason
        return reason

    def test_algorithms_of_kinds(self) -> None:
        for private, algorithms in ((RSA, ("RS256", "PS256")), (P256, ("ES256",)), (ED25519, ("EdDSA",))):
            keys = self.parse(as_jwk(private, "a"))
            key = keys.find("a")
            assert key is not None
            self.assertEqual(key.algorithms, algorithms)
            self.assertEqual(len(keys), 1)
            self.assertIsNone(keys.find("b"))
            self.assertNotIn(str(key.key), repr(key))

    def test_allowed(self) -> None:
        """The operator's algorithms limit those of a key, and so does the key itself."""
        for members, allowed, algorithms in (
            ({}, ("PS256", "ES256"), ("PS256",)),
            ({"alg": "RS256"}, ALGORITHMS, ("RS256",)),
            ({"alg": "RS256", "use": None}, ALGORITHMS, ("RS256",)),
            ({"key_ops": ["verify"]}, ("RS256",), ("RS256",)),
        ):
            found = self.parse(as_jwk(RSA, **members), allowed=allowed).find("k1")
            assert found is not None
            self.assertEqual(found.algorithms, algorithms)

    def test_ignored(self) -> None:
        """An issuer can publish keys for other purposes, too."""
        other = ec.generate_private_key(ec.SECP384R1())
        ignored = [
            as_jwk(RSA, "a", use="enc"),
            as_jwk(RSA, "a", key_ops=["sign"]),
            as_jwk(RSA, "a", key_ops="verify"),
            as_jwk(RSA, "a", alg="RS512"),
            as_jwk(RSA, "a", alg="HS256"),
            as_jwk(RSA, "a", alg="none"),
            as_jwk(RSA, "a", alg="ES256"),
            as_jwk(RSA, "a", crv="P-256"),
            as_jwk(RSA, "a", crv=[]),
            as_jwk(RSA, None),
            as_jwk(RSA, ""),
            as_jwk(RSA, "a" * 257),
            as_jwk(RSA, 7),  # type: ignore[arg-type]
            as_jwk(other, "a"),
            {"kty": ["RSA"], "kid": "a"},
            {"kid": "a"},
        ]
        keys = self.parse(*ignored, as_jwk(P256, "b"))
        self.assertEqual(len(keys), 1)
        self.assertIsNone(keys.find("a"))
        for each in ignored:
            with self.subTest(each):
                self.assertIn("no key with an id for RS256, PS256, ES256, EdDSA", self.fault(each))
        self.assertIn("for EdDSA", self.fault(as_jwk(RSA), allowed=("EdDSA",)))

    def test_secret_keys(self) -> None:
        for each in ({"kty": "oct", "k": "c2VjcmV0", "kid": "a", "alg": "HS256"}, as_jwk(P256, d="AAAA")):
            fault = self.fault(as_jwk(RSA, "b"), each)
            self.assertIn("secret key", fault)
            self.assertNotIn("c2VjcmV0", fault)

    def test_weak_and_huge_keys(self) -> None:
        weak = rsa.generate_private_key(65537, 1024)
        self.assertIn("1024 bits", self.fault(as_jwk(weak)))
        huge = as_jwk(RSA, n=("_" * 1366) + "w")
        self.assertIn("bits", self.fault(huge))

    def test_invalid_keys(self) -> None:
        for each in (
            as_jwk(RSA, n=None),
            as_jwk(RSA, n="!"),
            as_jwk(P256, x="AAAA"),
            as_jwk(P256, y=7),
            as_jwk(P256, y=as_jwk(P256)["x"]),
            as_jwk(ED25519, x="AAAA"),
        ):
            with self.subTest(each):
                self.assertEqual(self.fault(each), "a key of the key set is not valid")

    def test_repeated_id(self) -> None:
        self.assertEqual(self.fault(as_jwk(RSA), as_jwk(P256)), "two keys of the key set have the same id")

    def test_invalid_sets(self) -> None:
        for content, reason in (
            (b"x", "cannot be parsed: it is not JSON"),
            (b"[]", "it is not an object"),
            (b'{"keys": [], "keys": []}', "a member is repeated"),
            (b"{}", "has no list of at most"),
            (b'{"keys": {}}', "has no list of at most"),
            (b'{"keys": ["a"]}', "has no list of at most"),
            (json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(), "has no list of at most"),
            (b'{"keys": []}', "has no key with an id"),
            (key_set() + b" " * MAX_BYTES, f"is over {MAX_BYTES} bytes"),
        ):
            with self.subTest(content[:20]):
                error = self.assertRaises(InvalidKeys, KeySet.parse, content, ALGORITHMS)
                self.assertIn(reason, error.reason)

    def test_digest(self) -> None:
        first, second = KeySet.parse(key_set(), ALGORITHMS), KeySet.parse(key_set(), ALGORITHMS)
        self.assertEqual(first.digest, second.digest)
        self.assertNotEqual(first.digest, self.parse(as_jwk(ED25519)).digest)

    def test_not_installed(self) -> None:
        with mock.patch.object(jwt_keys, "import_module", side_effect=ImportError):
            error = self.assertRaises(InvalidKeys, load_pyjwt)
        self.assertIn("pip install 'egressproxy[jwt]'", error.reason)
