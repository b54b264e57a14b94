"""Tests for L{egress.policy.bundle}."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.trial.unittest import SynchronousTestCase

from egress.policy.bundle import (
    MAX_SIGNATURES,
    PAYLOAD_TYPE,
    Bundle,
    InvalidBundle,
    decode_bundle,
    encode_bundle,
    is_bundle,
    key_id,
)

BUNDLE = Bundle(7, "policy.toml", {"policy.toml": "version = 1\n", "teams/a.toml": "version = 1\n# \xfc\n"})


def base64(content: bytes) -> str:
    """Encode bytes."""
    return b64encode(content).decode("ascii")


class SignatureTests(SynchronousTestCase):
    """Only a bundle that a pinned key has signed is used."""

    def setUp(self) -> None:
        self.key, self.other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.public, self.other_public = self.key.public_key(), self.other.public_key()

    def refusal(self, content: bytes) -> str:
        """Return why a bundle is refused."""
        return str(self.assertRaises(InvalidBundle, decode_bundle, content, [self.public]).reason)

    def changed(self, **members: Any) -> bytes:
        """Return a signed bundle with other members."""
        return json.dumps({**json.loads(encode_bundle(BUNDLE, [self.key])), **members}).encode()

    def test_signed(self) -> None:
        content = encode_bundle(BUNDLE, [self.key])
        self.assertTrue(is_bundle(content))
        self.assertEqual(decode_bundle(content, [self.public]), BUNDLE)
        self.assertEqual(decode_bundle(content, [self.other_public, self.public]), BUNDLE)
        self.assertEqual(decode_bundle(content, None), BUNDLE)

    def test_several_signatures(self) -> None:
        """While a key is replaced, both sign."""
        content = encode_bundle(BUNDLE, [self.other, self.key])
        self.assertEqual(decode_bundle(content, [self.public]), BUNDLE)
        names = [each["keyid"] for each in json.loads(content)["signatures"]]
        self.assertEqual(names, [key_id(self.other_public), key_id(self.public)])

    def test_the_signature_is_that_of_dsse(self) -> None:
        """Other programs can verify the bundle."""
        envelope = json.loads(encode_bundle(BUNDLE, [self.key]))
        payload = json.dumps(
            {"version": 7, "main": "policy.toml", "documents": dict(BUNDLE.documents)},
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
        kind = PAYLOAD_TYPE.encode()
        signed = b" ".join((b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload))
        expected = base64(self.key.sign(signed))
        self.assertEqual(envelope["payload"], base64(payload))
        self.assertEqual(envelope["signatures"][0]["sig"], expected)

    def test_unsigned(self) -> None:
        content = encode_bundle(BUNDLE, [])
        self.assertEqual(decode_bundle(content, None), BUNDLE)
        self.assertIn("has no signature", self.refusal(content))

    def test_another_key(self) -> None:
        self.assertIn("no valid signature", self.refusal(encode_bundle(BUNDLE, [self.other])))

    def test_no_keys(self) -> None:
        self.assertRaises(InvalidBundle, decode_bundle, encode_bundle(BUNDLE, [self.key]), [])

    def test_changed(self) -> None:
        payload = json.dumps({"version": 8, "main": "a", "documents": {"a": 'default = "allow"'}}).encode()
        self.assertIn("no valid signature", self.refusal(self.changed(payload=base64(payload))))
        self.assertIn("no valid signature", self.refusal(self.changed(signatures=[{"sig": base64(bytes(64))}])))
        # The type is a part of what is signed.
        self.assertIn("is not a bundle", self.refusal(self.changed(payloadType="text/plain")))

    def test_damaged_signatures(self) -> None:
        for signatures, words in (
            ([1], "signature that is not valid"),
            ([{}], "signature that is not valid"),
            ([{"sig": 1}], "signature that is not valid"),
            ([{"sig": "\xfc"}], "not base64"),
            ([{"sig": "a"}], "not base64"),
            ([{"sig": "YQ=="}], "no valid signature"),
            ([{"sig": "YQ=="}] * (MAX_SIGNATURES + 1), "more than"),
            ({}, "is not a bundle"),
        ):
            with self.subTest(words):
                self.assertIn(words, self.refusal(self.changed(signatures=signatures)))


class FormatTests(SynchronousTestCase):
    """What a bundle contains."""

    def refusal(self, content: bytes) -> str:
        """Return why a bundle is refused."""
        return str(self.assertRaises(InvalidBundle, decode_bundle, content, None).reason)

    def payload(self, payload: bytes) -> bytes:
        """Return a bundle with a payload."""
        return json.dumps({"payloadType": PAYLOAD_TYPE, "payload": base64(payload), "signatures": []}).encode()

    def test_is_bundle(self) -> None:
        for content, expected in ((b"{}", True), (b" \r\n\t{", True), (b"version = 1", False), (b"", False)):
            self.assertEqual(is_bundle(content), expected)

    def test_not_an_envelope(self) -> None:
        for content, words in (
            (b"{", "not JSON"),
            (b"\xff{}", "not JSON"),
            (b'{"a": 1, "a": 1}', "not JSON"),
            (b'{"a":' * 100_000, "not JSON"),
            (b"[]", "not a JSON object"),
            (b"{}", "is not a bundle"),
            (b'{"payloadType": "application/vnd.egressproxy.policy+json", "payload": 1, "signatures": []}', "is not"),
        ):
            with self.subTest(content[:40]):
                self.assertIn(words, self.refusal(content))

    def test_payloads(self) -> None:
        good: dict[str, Any] = {"version": 1, "main": "a", "documents": {"a": ""}}
        self.assertEqual(decode_bundle(self.payload(json.dumps(good).encode()), None), Bundle(1, "a", {"a": ""}))
        cases: tuple[tuple[dict[str, Any], str], ...] = (
            ({"version": 0}, "'version'"),
            ({"version": True}, "'version'"),
            ({"version": "1"}, "'version'"),
            ({"version": 2**53}, "'version'"),
            ({"documents": []}, "'documents'"),
            ({"documents": {"a": 1}}, "'documents'"),
            ({"main": "b"}, "'main'"),
            ({"main": []}, "'main'"),
            *(({"documents": {"a": "", name: ""}}, "relative path") for name in _BAD_NAMES),
        )
        for members, words in cases:
            with self.subTest(members):
                self.assertIn(words, self.refusal(self.payload(json.dumps({**good, **members}).encode())))

    def test_encoding_checks(self) -> None:
        self.assertRaises(InvalidBundle, encode_bundle, Bundle(0, "a", {"a": ""}), [])


_BAD_NAMES = ("", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\0b", "a\nb")
