"""Tests for L{egress.client_auth.jwt_tokens}: valid tokens, and attacks."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from egress.client_auth.jwt_keys import KeySet
from egress.client_auth.jwt_tokens import LEEWAY, MAX_NAME, MAX_TOKEN, UnverifiedToken, read_token
from egress.model.errors import ClientCredentialsRejected
from egress.model.jwt_issuer import ALGORITHMS, JwtIssuer
from tests.client_auth.jwt_issuer import (
    AUDIENCE,
    ED25519,
    ISSUER,
    KEYS,
    NAME,
    NOW,
    P256,
    RSA,
    as_jwk,
    claims,
    encoded,
    key_set,
    raw_token,
    token,
    with_claims,
)

SETTINGS = JwtIssuer(ISSUER)


class TokenTestCase(SynchronousTestCase):
    """Base: an issuer with one key of each kind."""

    settings = SETTINGS
    ids = {"RS256": "rsa", "PS256": "rsa", "ES256": "k1", "EdDSA": "ed"}

    def setUp(self) -> None:
        self.keys = KeySet.parse(key_set(as_jwk(RSA, "rsa"), as_jwk(P256), as_jwk(ED25519, "ed")), ALGORITHMS)

    def read(self, data: bytes, now: float = NOW) -> UnverifiedToken:
        return read_token(data, self.settings, now)

    def accept(self, data: bytes, now: float = NOW) -> str:
        """Validate a token as the authenticator does."""
        unverified = self.read(data, now)
        key = self.keys.find(unverified.key_id)
        if key is None:
            raise AssertionError("the key is not known")
        return unverified.verified(key)

    def rejects(self, data: bytes, why: str, now: float = NOW) -> None:
        """Verify that a token is rejected, and that the reason contains nothing of it."""
        error = self.assertRaises(ClientCredentialsRejected, self.accept, data, now)
        self.assertIn(why, error.reason)
        self.assertNotIn("evil", error.reason)


class AcceptedTests(TokenTestCase):
    """Tokens that are accepted."""

    def test_algorithms(self) -> None:
        for algorithm, key_id in self.ids.items():
            self.assertEqual(self.accept(token(algorithm, header={"kid": key_id})), NAME)

    def test_expiry(self) -> None:
        found = self.read(token(exp=NOW + 60.5))
        self.assertEqual((found.expires, found.key_id, found.name), (NOW + 60.5, "k1", NAME))
        self.assertNotIn(found.data.decode(), repr(found))

    def test_times(self) -> None:
        """The clocks of issuer and proxy may differ."""
        self.accept(token(exp=NOW - LEEWAY + 1))
        self.accept(token(nbf=NOW + LEEWAY, iat=NOW + LEEWAY))
        self.accept(token(nbf=None, iat=None))

    def test_audiences(self) -> None:
        for audience in (AUDIENCE, [AUDIENCE], ["other", AUDIENCE]):
            self.accept(token(aud=audience))
        self.settings = JwtIssuer(ISSUER, ("a", "b"))
        self.accept(token(aud="b"))

    def test_types(self) -> None:
        """Explicit typing (RFC 8725 section 3.11)."""
        for kind in (None, "JWT", "jwt", "application/jwt", "at+jwt", "application/at+JWT"):
            self.accept(token(header={"typ": kind}))

    def test_claim(self) -> None:
        self.settings = JwtIssuer(ISSUER, claim="email")
        self.assertEqual(self.accept(token(email="a@example.com")), "a@example.com")
        self.rejects(token(), "claim email is not a name")

    def test_headers_that_are_not_read(self) -> None:
        """A token cannot say which key verifies it."""
        evil = ec.generate_private_key(ec.SECP256R1())
        header = {"jku": "https://evil.test/k", "x5u": "https://evil.test/c", "jwk": as_jwk(evil), "x5c": ["evil"]}
        self.assertEqual(self.accept(token(header=header)), NAME)
        self.rejects(token(key=evil, header=header), "signature is not valid")


class AttackTests(TokenTestCase):
    """Tokens that are rejected."""

    def test_none(self) -> None:
        for name in ("none", "None", "NONE", "nOnE", "", None, 0, [], ["ES256"]):
            for end in (b"", b"AA"):
                data = raw_token({"alg": name, "kid": "k1"}, claims(), None) + end
                self.rejects(data, "not a JSON Web Token" if not end else "its algorithm is not one of")

    def test_shared_secret(self) -> None:
        """The public key must not serve as a shared secret."""
        public = RSA.public_key()
        secrets = [
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
            json.dumps(as_jwk(RSA, "rsa")).encode(),
            b"",
        ]
        hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        for secret in secrets:
            data = encoded(b'{"alg":"HS256","kid":"rsa"}') + b"." + encoded(json.dumps(claims()).encode())
            self.rejects(data + b"." + encoded(hmac.sign(data, secret)), "its algorithm is not one of")

    def test_other_algorithm_of_the_key(self) -> None:
        for algorithm, key_id in (("ES256", "rsa"), ("RS256", "k1"), ("EdDSA", "k1"), ("PS256", "ed")):
            self.rejects(token(algorithm, header={"kid": key_id}), "its key is not for its algorithm")
        # The operator allows only one of them.
        self.keys = KeySet.parse(key_set(as_jwk(RSA, "rsa", alg="PS256")), ALGORITHMS)
        self.accept(token("PS256", header={"kid": "rsa"}))
        self.rejects(token("RS256", header={"kid": "rsa"}), "its key is not for its algorithm")
        self.settings = JwtIssuer(ISSUER, algorithms=("ES256",))
        self.rejects(token("RS256", header={"kid": "rsa"}), "its algorithm is not one of ES256")

    def test_other_key(self) -> None:
        for algorithm, key_id in self.ids.items():
            others: dict[str, Any] = {"EdDSA": ed25519.Ed25519PrivateKey.generate()}
            other = others.get(algorithm, ec.generate_private_key(ec.SECP256R1()))
            data = token("EdDSA" if algorithm == "EdDSA" else "ES256", other, {"kid": "k1"})
            if algorithm == "ES256":
                self.rejects(data, "its signature is not valid")
            body = token(algorithm, header={"kid": key_id}).rsplit(b".", 1)[0]
            self.rejects(body + b"." + data.rsplit(b".", 1)[1], "its signature is not valid")

    def test_changed(self) -> None:
        """Every part is signed."""
        head, body, signature = token().split(b".")
        other = token(sub="evil").split(b".")[1]
        self.rejects(b".".join([head, other, signature]), "its signature is not valid")
        changed = encoded(json.dumps({"alg": "ES256", "kid": "k1", "x": "evil"}).encode())
        self.rejects(b".".join([changed, body, signature]), "its signature is not valid")
        self.rejects(b".".join([head, body, signature[:-4]]), "its signature is not valid")
        self.rejects(b".".join([head, body, b"AA"]), "its signature is not valid")
        # An ECDSA signature of zeros (CVE-2022-21449).
        self.rejects(b".".join([head, body, encoded(bytes(64))]), "its signature is not valid")

    def test_issuer(self) -> None:
        for issuer in (None, "", "https://evil.test", ISSUER + "/", ISSUER.upper(), ISSUER[:-1], [ISSUER], 7):
            self.rejects(token(iss=issuer), "it is from another issuer")

    def test_audience(self) -> None:
        for audience in (None, "", "evil", [], ["evil"], AUDIENCE.upper(), AUDIENCE[:-1], {AUDIENCE: 1}, 7):
            self.rejects(token(aud=audience), "it is for another audience")
        self.rejects(token(aud=[AUDIENCE, 7]), "it is for another audience")
        self.rejects(token(aud=[[AUDIENCE]]), "it is for another audience")

    def test_expired(self) -> None:
        self.rejects(token(exp=NOW - LEEWAY), "it has expired")
        self.rejects(token(), "it has expired", NOW + 600 + LEEWAY)
        self.rejects(token(exp=0), "it has expired")
        self.rejects(token(exp=None), "it does not expire")

    def test_not_yet_valid(self) -> None:
        for name in ("nbf", "iat"):
            self.rejects(with_claims({name: NOW + LEEWAY + 1}), f"not valid yet ({name})")

    def test_invalid_times(self) -> None:
        for name in ("exp", "nbf", "iat"):
            values: tuple[Any, ...] = ("1900000000", True, [], {}, -1, 2**43, 1e300)
            for value in values:
                self.rejects(with_claims({name: value}), f"its {name} is not a time")
            body = (
                json.dumps(claims())
                .encode()
                .replace(b'"%b": 1' % name.encode(), b'"%b": 1e999, "y": 1' % name.encode())
            )
            self.rejects(raw_token({"alg": "ES256", "kid": "k1"}, body, P256), f"its {name} is not a time")

    def test_names(self) -> None:
        for name in (None, "", 7, ["evil"], "a" * (MAX_NAME + 1), "evil\n", "evil\x00", "evil\ud800", "evil\u202e"):
            self.rejects(token(sub=name), "its claim sub is not a name")

    def test_types(self) -> None:
        for kind in ("logout+jwt", "secevent+jwt", "dpop+jwt", "JOSE", "", "text/jwt", 7, None):
            header = {"alg": "ES256", "kid": "k1", "typ": kind}
            self.rejects(raw_token(header, claims(), P256), "its type is neither")

    def test_key_id(self) -> None:
        """An id that is no text is no key; the text itself is only compared."""
        for key_id in ("", 7, ["k1"], {"a": 1}, "a" * 257):
            self.rejects(token(header={"kid": key_id}), "it names no key")
        self.rejects(token(header={"kid": None}), "it names no key")
        for key_id in ("../../dev/null", "k1' OR '1'='1", "https://evil.test/k", "k1\x00", "K1", " k1"):
            self.assertIsNone(self.keys.find(self.read(token(header={"kid": key_id})).key_id))

    def test_critical_extensions(self) -> None:
        headers: tuple[dict[str, Any], ...] = (
            {"crit": ["exp"]},
            {"crit": []},
            {"crit": ["b64"], "b64": False},
            {"b64": False},
            {"b64": True},
        )
        for header in headers:
            self.rejects(token(header=header), "critical extensions")

    def test_nested(self) -> None:
        for header in ({"cty": "JWT"}, {"enc": "A256GCM"}, {"zip": "DEF"}):
            self.rejects(token(header=header), "nested, encrypted, or compressed")
        self.rejects(b"a.b.c.d.e", "not a JSON Web Token")

    def test_duplicates(self) -> None:
        """Two parsers could use different members."""
        header, body = b'{"alg":"ES256","kid":"k1"}', json.dumps(claims()).encode()
        self.accept(raw_token(header, body, P256))
        for name in (b'"aud": ["evil"], ', b'"sub": "evil", ', b'"exp": 1, ', b'"\\u0073ub": "evil", '):
            self.rejects(raw_token(header, b"{" + name + body[1:], P256), "its payload is not a JSON object")
        self.rejects(raw_token(b'{"alg":"none",' + header[1:], body, P256), "its header is not a JSON object")

    def test_malformed(self) -> None:
        data = token()
        for each in (
            b"",
            b"..",
            b"a.b",
            data + b".",
            data + b"\n",
            b" " + data,
            data + b"=",
            data.replace(b".", b".+", 1),
            data.replace(b".", b"=.", 1),
            b"\xff.\xff.\xff",
        ):
            self.rejects(each, "not a JSON Web Token")
        for part in (b"[]", b'"a"', b"7", b"\xff", b"{", b'{"alg": NaN}', b"[" * 3000):
            self.rejects(raw_token(part, claims(), P256), "its header is not a JSON object")
        self.rejects(b"a.a.a", "its header is not a JSON object")

    def test_size(self) -> None:
        """The size is limited before anything is parsed."""
        self.accept(token(x="a" * 5000))
        self.rejects(token(x="a" * 6200), f"it is over {MAX_TOKEN} bytes")
        self.rejects(b"a" * (MAX_TOKEN + 1), f"it is over {MAX_TOKEN} bytes")


class PropertyTests(TokenTestCase):
    """Any input is rejected with one kind of error."""

    def check(self, data: bytes) -> None:
        with contextlib.suppress(ClientCredentialsRejected):
            read_token(data, SETTINGS, NOW)

    @given(st.binary(max_size=300))
    def test_bytes(self, data: bytes) -> None:
        self.check(data)

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    )

    @given(
        st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), json_values),
        st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub"]), json_values),
        st.sampled_from(list(KEYS)),
    )
    def test_members(self, header: dict[str, Any], changes: dict[str, Any], algorithm: str) -> None:
        members = {"alg": algorithm, "kid": "k1", **header}
        self.check(raw_token(members, {**claims(), **changes}, P256, "ES256"))
