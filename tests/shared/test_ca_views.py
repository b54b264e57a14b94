"""Tests for L{egress.shared.ca_views}."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from egress.shared.ca_views import (
    LIFETIME,
    MAX_NODE,
    MAX_TRUSTED,
    MAX_VIEWS,
    CaView,
    anchor_of,
    decode,
    describe,
    encode,
    mismatches,
)
from egress.tls.ca_certificates import Certificates
from egress.tls.issuer import fingerprint_of
from tests.certificates import TestCA, common_name

NOW = 1e9
OLD, NEW = TestCA("Old"), TestCA("New")


def view(ca: TestCA, *trusted: TestCA, node: str = "a", time: float = NOW) -> CaView:
    return CaView.of(ca.certificate, [each.certificate for each in trusted], node, time)


class AgreementTests(SynchronousTestCase):
    """Which replicas agree."""

    def test_rotation(self) -> None:
        """Replicas may sign with two roots while the clients of both trust both."""
        before, during, after = view(OLD), view(OLD, OLD, NEW), view(NEW, NEW, OLD)
        for one, other in ((before, before), (before, during), (during, after), (after, view(NEW))):
            self.assertTrue(one.agrees_with(other) and other.agrees_with(one))
        for one, other in ((before, view(NEW)), (before, after), (during, view(NEW))):
            self.assertFalse(one.agrees_with(other) or other.agrees_with(one))

    def test_mismatches(self) -> None:
        own, same, other = view(OLD), view(OLD, node="b"), view(NEW, node="c")
        self.assertEqual(mismatches(own, [same, other]), [other])
        text = describe([other])
        self.assertIn(f"c (SHA-256 {fingerprint_of(NEW.certificate)})", text)

    def test_renewed(self) -> None:
        """A root with the same name and key is the same for clients."""
        renewed = x509.CertificateBuilder(
            issuer_name=OLD.certificate.subject,
            subject_name=OLD.certificate.subject,
            public_key=OLD.key.public_key(),
            serial_number=7,
            not_valid_before=OLD.now,
            not_valid_after=OLD.certificate.not_valid_after_utc,
        ).sign(OLD.key, hashes.SHA256())
        self.assertNotEqual(renewed, OLD.certificate)
        self.assertEqual(anchor_of(renewed), anchor_of(OLD.certificate))
        self.assertNotEqual(anchor_of(OLD.certificate), anchor_of(NEW.certificate))
        self.assertNotEqual(OLD.certificate.subject, common_name("New"))

    def test_intermediate(self) -> None:
        """Two intermediate CAs of one root agree."""
        now = datetime.now(timezone.utc)
        found = [
            CaView.of_files(Certificates(TestCA(name, OLD).certificate, chain=(OLD.certificate,)), now, name)
            for name in ("one", "two")
        ]
        self.assertEqual(found[0], found[1])
        self.assertEqual(found[0], view(OLD))
        self.assertIsNone(CaView.of_files(Certificates(TestCA("one", OLD).certificate), now, "one"))


class CodecTests(SynchronousTestCase):
    """Views as bytes."""

    def test_same(self) -> None:
        given = [view(OLD, OLD, NEW, node="a"), view(NEW, node="b", time=NOW - 1)]
        found = decode(encode(given), NOW)
        self.assertEqual(found, given)
        for one, other in zip(found, given, strict=True):
            self.assertEqual((one.node, one.time, one.fingerprint), (other.node, other.time, other.fingerprint))

    def test_expired(self) -> None:
        """Also those of a clock that is far ahead."""
        content = encode([view(OLD), view(NEW, time=NOW - LIFETIME / 2)])
        self.assertEqual(len(decode(content, NOW + LIFETIME)), 1)
        self.assertEqual(decode(content, NOW + LIFETIME + 1), [])
        self.assertEqual(decode(content, NOW - 2 * LIFETIME), [])

    def test_bounded(self) -> None:
        views = [CaView(str(number), frozenset(), "f", "n", NOW - number) for number in range(MAX_VIEWS + 2)]
        self.assertEqual([each.signer for each in decode(encode(reversed(views)), NOW)], list("01234567"))
        many = [TestCA(str(number)) for number in range(MAX_TRUSTED)]
        found = view(OLD, *many, node="x" * 1000)
        self.assertEqual((len(found.trusted), len(found.node)), (MAX_TRUSTED, MAX_NODE))
        self.assertIn(found.signer, found.trusted)

    def test_other_content(self) -> None:
        """Of another version, or anything else."""
        good: list[Any] = ["s", ["s"], "f", "n", NOW]
        self.assertEqual(len(decode(json.dumps([1, [good]]).encode(), NOW)), 1)
        for views in ([good[:4]], [[*good[:4], "now"]], [["s", [1], *good[2:]]], [[1, *good[1:]]], 1, [1]):
            self.assertEqual(decode(json.dumps([1, views]).encode(), NOW), [], views)
        for content in (b"", b"\xff", b"[", b"1", b"[2,[]]", b"[]", b"[" * 100_000, b'{"a":1}'):
            self.assertEqual(decode(content, NOW), [], content[:10])
