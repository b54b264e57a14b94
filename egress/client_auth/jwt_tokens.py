"""The validation of JSON Web Tokens (RFC 7519), as RFC 8725 recommends.

All checks that need no key come first, so that a token that is not for this proxy causes no download of keys.  Members
of the header that name or contain a key (C{jku}, C{jwk}, C{x5u}, C{x5c}) are not read: only the operator says whose
keys are used.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

import attrs

from egress.client_auth.jwt_keys import MAX_KEY_ID, InvalidObject, IssuerKey, load_pyjwt, parse_object
from egress.model.errors import ClientCredentialsRejected
from egress.model.jwt_issuer import JwtIssuer

MAX_TOKEN: Final = 8192
"""The maximum size of a token, in bytes."""

LEEWAY: Final = 30
"""The difference between the clocks of the issuer and the proxy that is tolerated, in seconds."""

MAX_NAME: Final = 256
"""The maximum length of a client name."""

# The compact serialization (RFC 7515 section 7.1), without padding.
_COMPACT: Final = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
# Tokens of other kinds have other types: a logout token or a security event must not pass as a proof of identity
# (RFC 8725 section 3.11).  The last one is the type of access tokens (RFC 9068).
_TYPES: Final = ("jwt", "at+jwt")
# Later than any useful time, and exact as a float.
_MAX_TIME: Final = 2**43


@attrs.frozen
class UnverifiedToken:
    """A token whose claims are acceptable, but whose signature is not verified.

    @ivar data: the token.
    @ivar key_id: the id of the key that signed it.
    @ivar algorithm: the algorithm of its signature.
    @ivar name: the client name in it.
    @ivar expires: the time at which it expires, in seconds since the epoch.
    """

    data: bytes = attrs.field(repr=False)
    key_id: str
    algorithm: str
    name: str
    expires: float

    def verified(self, key: IssuerKey) -> str:
        """Verify the signature.

        @return: the client name.
        @raise ClientCredentialsRejected: if the key has not signed the token.
        """
        if self.algorithm not in key.algorithms:
            raise _rejected("its key is not for its algorithm")
        pyjwt = load_pyjwt()
        try:
            pyjwt.PyJWS().decode(self.data, key.key, algorithms=[self.algorithm])
        except pyjwt.PyJWTError as error:
            raise _rejected("its signature is not valid") from error
        return self.name


def read_token(data: bytes, settings: JwtIssuer, now: float) -> UnverifiedToken:
    """Check everything about a token except its signature.

    @param data: the token.
    @param settings: the accepted tokens.
    @param now: seconds since the epoch.
    @raise ClientCredentialsRejected: names the failed check, without text from the token.
    """
    if len(data) > MAX_TOKEN:
        raise _rejected(f"it is over {MAX_TOKEN} bytes")
    match = _COMPACT.fullmatch(data)
    if match is None:
        raise _rejected("it is not a JSON Web Token: send the token itself, as Bearer token or as password")
    header, claims = _part(match[1], "header"), _part(match[2], "payload")
    key_id, algorithm = _checked_header(header, settings)
    return UnverifiedToken(data, key_id, algorithm, *_checked_claims(claims, settings, now))


def _rejected(why: str) -> ClientCredentialsRejected:
    return ClientCredentialsRejected(f"the token is not accepted: {why}")


def _part(encoded: bytes, name: str) -> dict[str, Any]:
    try:
        data = base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
        return parse_object(data)
    except (binascii.Error, InvalidObject) as error:
        raise _rejected(f"its {name} is not a JSON object without repeated members") from error


def _checked_header(header: dict[str, Any], settings: JwtIssuer) -> tuple[str, str]:
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if algorithm not in settings.algorithms:
        raise _rejected(f"its algorithm is not one of {', '.join(settings.algorithms)}")
    # No extension is supported, so no critical one (RFC 7515 section 4.1.11, RFC 7797).
    if "crit" in header or "b64" in header:
        raise _rejected("it has critical extensions, which are not supported")
    if "cty" in header or "enc" in header or "zip" in header:
        raise _rejected("it is nested, encrypted, or compressed")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise _rejected("its type is neither JWT nor at+jwt")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID:
        raise _rejected("it names no key: the header needs a kid")
    return key_id, algorithm


def _checked_claims(claims: dict[str, Any], settings: JwtIssuer, now: float) -> tuple[str, float]:
    if claims.get("iss") != settings.issuer:
        raise _rejected("it is from another issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(each, str) for each in audiences) or not set(audiences) & set(settings.audiences):
        raise _rejected("it is for another audience")
    expires = _time(claims, "exp")
    if expires is None:
        raise _rejected("it does not expire: it needs an exp")
    if now >= expires + LEEWAY:
        raise _rejected("it has expired: get a new one")
    for name in ("nbf", "iat"):
        time = _time(claims, name)
        if time is not None and now < time - LEEWAY:
            raise _rejected(f"it is not valid yet ({name}): check the clocks")
    return _name(claims.get(settings.claim), settings.claim), expires


def _time(claims: dict[str, Any], name: str) -> float | None:
    """Return a claim with a time (RFC 7519 section 2, C{NumericDate})."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _MAX_TIME:
        raise _rejected(f"its {name} is not a time")
    return float(value)


def _name(value: object, claim: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise _rejected(f"its claim {claim} is not a name of 1 to {MAX_NAME} printable characters")
    return value
