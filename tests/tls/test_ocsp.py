"""Tests for L{egress.tls.ocsp}."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from egress.tls.ocsp import must_staple, staple_fault
from tests.certificates import TestCA, TestCertificate

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
DAY = timedelta(days=1)
FEATURE = (x509.TLSFeature([x509.TLSFeatureType.status_request]), False)
# An OCSP response has no fractions of a second.
NOW = datetime.now(timezone.utc).replace(microsecond=0)
SIGNER = ((x509.OCSPNoCheck(), False),)


def made(
    issuer: TestCA,
    certificate: x509.Certificate,
    status: ocsp.OCSPCertStatus = GOOD,
    *,
    begin: datetime = NOW - DAY,
    end: datetime | None = NOW + DAY,
    signer: TestCertificate | None = None,
    by: TestCA | None = None,
    algorithm: Any = None,
    names: Any = None,
) -> bytes:
    """Create an issuer's OCSP response.

    @param signer: a delegated responder, whose certificate is included.
    @param by: the signer, whose certificate is not included.
    @param algorithm: the hash of the signature.
    @param names: the hash that identifies the certificate.
    """
    revoked = status is REVOKED
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=certificate,
        issuer=issuer.certificate,
        algorithm=names or hashes.SHA1(),
        cert_status=status,
        this_update=begin,
        next_update=end,
        revocation_time=NOW - 2 * DAY if revoked else None,
        revocation_reason=x509.ReasonFlags.key_compromise if revoked else None,
    )
    responder: Any = signer or by or issuer
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
    if signer is not None:
        builder = builder.certificates([signer.certificate])
    return builder.sign(responder.key, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)


class _OldSingleResponse:
    """A response for one certificate, as old releases of cryptography provide it."""

    def __init__(self, single: Any) -> None:
        self.single = single

    def __getattr__(self, name: str) -> Any:
        if name.endswith("_utc"):
            raise AttributeError(name)
        if name not in ("this_update", "next_update", "revocation_time"):
            return getattr(self.single, name)
        new = f"{name}_utc"
        found = getattr(self.single, new if hasattr(self.single, new) else name)
        return None if found is None else found.replace(tzinfo=None)


class _OldResponse:
    """A whole response, as old releases of cryptography provide it."""

    def __init__(self, response: Any) -> None:
        self.response = response

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.response, name)
        return map(_OldSingleResponse, found) if name == "responses" else found


class StapleTestCase(SynchronousTestCase):
    """Provides a certificate without the must-staple extension, and one with it."""

    def setUp(self) -> None:
        self.ca = TestCA()
        self.may = self.ca.issue("a.example").certificate
        self.must = self.ca.issue("a.example", extensions=(FEATURE,)).certificate

    def fault(self, response: bytes, certificate: x509.Certificate | None = None) -> str | None:
        return staple_fault(response, certificate or self.may, self.ca.certificate, NOW)

    def assert_unusable(self, why: str, **options: Any) -> None:
        """Verify that a response is unusable: it only affects the certificate with the must-staple extension."""
        for status in (GOOD, UNKNOWN):
            self.assertIsNone(self.fault(made(self.ca, self.may, status, **options)))
            fault = self.fault(made(self.ca, self.must, status, **options), self.must)
            self.assertIn("requires a stapled revocation status", str(fault))
            if status is GOOD:
                self.assertIn(why, str(fault))


class StatusTests(StapleTestCase):
    """The status in a response, and its effect."""

    def test_must_staple(self) -> None:
        other = (x509.TLSFeature([x509.TLSFeatureType.status_request_v2]), False)
        self.assertTrue(must_staple(self.must))
        self.assertFalse(must_staple(self.may))
        self.assertFalse(must_staple(self.ca.issue(extensions=(other,)).certificate))

    def test_no_response(self) -> None:
        self.assertIsNone(self.fault(b""))
        self.assertEqual(self.fault(b"", self.must), "requires a stapled revocation status, but the server sent none")

    def test_good_status(self) -> None:
        for certificate in (self.may, self.must):
            self.assertIsNone(self.fault(made(self.ca, certificate), certificate))

    def test_revoked(self) -> None:
        for certificate in (self.may, self.must):
            fault = self.fault(made(self.ca, certificate, REVOKED), certificate)
            self.assertEqual(fault, f"was revoked on {NOW - 2 * DAY:%Y-%m-%d} by its issuer")

    def test_revoked_long_ago(self) -> None:
        """A revocation is permanent."""
        response = made(self.ca, self.may, REVOKED, begin=NOW - 60 * DAY, end=NOW - 50 * DAY)
        self.assertIn("was revoked", str(self.fault(response)))

    def test_unknown_status(self) -> None:
        self.assertIsNone(self.fault(made(self.ca, self.may, UNKNOWN)))
        fault = self.fault(made(self.ca, self.must, UNKNOWN), self.must)
        self.assertIn("the issuer does not know this certificate", str(fault))

    def test_times(self) -> None:
        minute = timedelta(minutes=1)
        for begin, end, useful in (
            (NOW - DAY, NOW + DAY, True),
            (NOW + 4 * minute, NOW + DAY, True),
            (NOW + 6 * minute, NOW + DAY, False),
            (NOW - DAY, NOW - 4 * minute, True),
            (NOW - DAY, NOW - 6 * minute, False),
            (NOW - 6 * DAY, None, True),
            (NOW - 8 * DAY, None, False),
        ):
            with self.subTest(begin, end=end):
                fault = self.fault(made(self.ca, self.must, begin=begin, end=end), self.must)
                self.assertEqual(fault is None, useful)
                self.assertEqual("out of date" in str(fault), not useful)

    def test_old_releases_of_cryptography(self) -> None:
        """They provide the same times under other names, without a time zone."""
        load = ocsp.load_der_ocsp_response
        self.patch(ocsp, "load_der_ocsp_response", lambda data: _OldResponse(load(data)))
        self.test_times()
        self.test_revoked()


class MatchTests(StapleTestCase):
    """A response applies to one certificate."""

    def test_other_hash_of_the_identifier(self) -> None:
        self.assertIsNone(self.fault(made(self.ca, self.must, names=hashes.SHA256()), self.must))

    def test_another_certificate(self) -> None:
        other = self.ca.issue("a.example").certificate
        self.assertIsNone(self.fault(made(self.ca, other, REVOKED)))
        self.assertIn("for another certificate", str(self.fault(made(self.ca, other), self.must)))

    def test_same_number_of_another_issuer(self) -> None:
        stranger = TestCA("Stranger")
        response = made(stranger, self.may, REVOKED, by=self.ca)
        self.assertIsNone(self.fault(response))

    def test_unknown_issuer(self) -> None:
        self.assertIsNone(staple_fault(made(self.ca, self.may, REVOKED), self.may, None, NOW))
        fault = staple_fault(made(self.ca, self.must), self.must, None, NOW)
        self.assertIn("its issuer is unknown", str(fault))


class SignatureTests(StapleTestCase):
    """The accepted signers."""

    def test_other_signers(self) -> None:
        self.assert_unusable("not signed by the issuer", by=TestCA())
        self.assertIsNone(self.fault(made(self.ca, self.may, REVOKED, by=TestCA())))

    def test_weak_hash(self) -> None:
        """A hash with which signatures can be forged."""
        self.assert_unusable("not signed by the issuer", algorithm=hashes.SHA224())

    def test_rsa_key(self) -> None:
        signer = self.delegated(key=rsa.generate_private_key(65537, 2048))
        response = made(self.ca, self.must, signer=signer)
        self.assertIsNone(self.fault(response, self.must))
        signature = ocsp.load_der_ocsp_response(response).signature
        changed = response.replace(signature, signature[:-1] + bytes([signature[-1] ^ 1]))
        self.assertIn("not signed", str(self.fault(changed, self.must)))

    def delegated(self, issuer: TestCA | None = None, **options: Any) -> TestCertificate:
        usage = options.pop("usage", ExtendedKeyUsageOID.OCSP_SIGNING)
        return (issuer or self.ca).issue(usage=usage, extensions=SIGNER, **options)

    def test_delegated(self) -> None:
        self.assertIsNone(self.fault(made(self.ca, self.must, signer=self.delegated()), self.must))
        fault = self.fault(made(self.ca, self.may, REVOKED, signer=self.delegated()))
        self.assertIn("was revoked", str(fault))

    def test_not_delegated(self) -> None:
        """A server of the same CA, a responder of another CA, and one outside its validity period are not accepted."""
        for signer in (
            self.delegated(usage=ExtendedKeyUsageOID.SERVER_AUTH),
            self.delegated(TestCA("Stranger")),
            self.delegated(TestCA()),
            self.delegated(expired=True),
            self.delegated(not_yet_valid=True),
            self.delegated(TestCA("Below", self.ca)),
        ):
            self.assert_unusable("not signed by the issuer", signer=signer)

    def test_too_many_signers(self) -> None:
        """The number of checked signers is limited, because each check takes time."""
        strangers = [self.delegated(TestCA()).certificate for _ in range(4)]
        mine = self.delegated()
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=self.must,
            issuer=self.ca.certificate,
            algorithm=hashes.SHA256(),
            cert_status=GOOD,
            this_update=NOW - DAY,
            next_update=NOW + DAY,
            revocation_time=None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, mine.certificate)
        for others, useful in ((strangers[1:], True), (strangers, False)):
            response = builder.certificates([*others, mine.certificate]).sign(mine.key, hashes.SHA256())
            fault = self.fault(response.public_bytes(Encoding.DER), self.must)
            self.assertEqual(fault is None, useful)

    def test_other_kinds_of_keys(self) -> None:
        issuer: Any = self.ca.issue(key=ed25519.Ed25519PrivateKey.generate())  # type: ignore[arg-type]
        response = made(issuer, self.must, by=self.ca)
        fault = staple_fault(response, self.must, issuer.certificate, NOW)
        self.assertIn("not signed by the issuer", str(fault))


class MalformedTests(StapleTestCase):
    """A server may send arbitrary data."""

    def test_garbage(self) -> None:
        whole = made(self.ca, self.must)
        for response in (
            b"\x00",
            b"garbage",
            whole[:-1],
            whole + b"\x00",
            b"\x30\x03\x0a\x01\x00",
            b"\x30\x84\xff\xff",
        ):
            with self.subTest(response[:10]):
                self.assertIsNone(self.fault(response))
                self.assertIn("cannot be parsed", str(self.fault(response, self.must)))

    def test_every_bit(self) -> None:
        """A modified response is never accepted with another meaning."""
        revoked = made(self.ca, self.must, REVOKED)
        for index in range(len(revoked)):
            changed = bytearray(revoked)
            changed[index] ^= 1
            self.assertIsNotNone(self.fault(bytes(changed), self.must), index)

    def test_no_status(self) -> None:
        for status in (ocsp.OCSPResponseStatus.TRY_LATER, ocsp.OCSPResponseStatus.UNAUTHORIZED):
            response = ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
            self.assertIsNone(self.fault(response))
            self.assertIn("the issuer sent an error", str(self.fault(response, self.must)))
