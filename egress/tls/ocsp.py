"""The revocation check with stapled OCSP responses (RFC 6066 section 8, RFC 6960).

A server may staple its issuer's OCSP response to its certificate.  The proxy queries no OCSP server: a query would
delay each connection, and reveal the proxy's destinations to third parties.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

_SKEW: Final = timedelta(minutes=5)
# The validity of a status without an end.
_LIFE: Final = timedelta(days=7)
_MAX_SIGNERS: Final = 4
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_MALFORMED: Final = (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound)


class Unusable(Exception):
    """A response without a usable status."""


def must_staple(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate requires a stapled response (RFC 7633)."""
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except x509.ExtensionNotFound:
        return False
    return x509.TLSFeatureType.status_request in features


def staple_fault(
    staple: bytes, certificate: x509.Certificate, issuer: x509.Certificate | None, now: datetime
) -> str | None:
    """Check a certificate against its stapled response.

    @param staple: an OCSP response; empty if there was none.
    @param certificate: the certificate to check.
    @param issuer: the certificate that verified this one.
    @param now: the current time, with a time zone.
    @return: the fault, worded to follow "the certificate"; C{None} if there is none.
    """
    why = "the server sent none"
    if staple:
        try:
            if issuer is None:
                raise Unusable("its issuer is unknown")
            status = _status(staple, certificate, issuer, now)
        except Unusable as error:
            why = f"the status cannot be used: {error}"
        except _MALFORMED:
            why = "the status cannot be parsed"
        else:
            if status is None:
                return None
            return f"was revoked on {status:%Y-%m-%d} by its issuer"
    return f"requires a stapled revocation status, but {why}" if must_staple(certificate) else None


def _status(staple: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> datetime | None:
    """Return the time of the revocation; C{None} for a good certificate."""
    response = ocsp.load_der_ocsp_response(staple)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise Unusable("the issuer sent an error")
    single = _single_response(response, certificate, issuer)
    if not _is_signed(response, issuer, now):
        raise Unusable("it is not signed by the issuer")
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        # An outdated response counts as well: a revocation is permanent.
        revoked = _time(single, "revocation_time")
        assert revoked is not None
        return revoked
    begin, end = _time(single, "this_update"), _time(single, "next_update")
    assert begin is not None
    if begin > now + _SKEW or now - _SKEW > (end or begin + _LIFE):
        raise Unusable("it is out of date")
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise Unusable("the issuer does not know this certificate")
    return None


def _time(single: ocsp.OCSPSingleResponse, name: str) -> datetime | None:
    """Return a time with its time zone; old releases of cryptography return it without one."""
    if hasattr(single, f"{name}_utc"):
        found: datetime | None = getattr(single, f"{name}_utc")
        return found
    naive: datetime | None = getattr(single, name)
    return None if naive is None else naive.replace(tzinfo=timezone.utc)


def _single_response(
    response: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> ocsp.OCSPSingleResponse:
    """Return the single response for this certificate."""
    for single in response.responses:
        if single.serial_number == certificate.serial_number:
            wanted = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, single.hash_algorithm).build()
            if (wanted.issuer_key_hash, wanted.issuer_name_hash) == (single.issuer_key_hash, single.issuer_name_hash):
                return single
    raise Unusable("it is for another certificate")


def _is_signed(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> bool:
    """Tell whether the issuer or its authorized responder signed the response (RFC 6960 section 4.2.2.2)."""
    if _verifies(response, issuer):
        return True
    return any(
        _is_delegated(signer, issuer, now) and _verifies(response, signer)
        for signer in response.certificates[:_MAX_SIGNERS]
    )


def _is_delegated(signer: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    try:
        signer.verify_directly_issued_by(issuer)
        usage = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except _MALFORMED:
        return False
    valid = signer.not_valid_before_utc <= now <= signer.not_valid_after_utc
    return valid and ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _verifies(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, algorithm = signer.public_key(), response.signature_hash_algorithm
    if not isinstance(algorithm, _HASHES):
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(algorithm))
        else:
            return False
    except InvalidSignature:
        return False
    return True
