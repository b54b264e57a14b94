"""Tests for L{egress.client_auth.jwt_authenticator}."""

from __future__ import annotations

import base64
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred
from zope.interface.verify import verifyObject

from egress.client_auth import jwt_authenticator
from egress.client_auth.jwt_authenticator import WAITING_PER_ADDRESS, JwtAuthenticator
from egress.client_auth.key_source import MAX_AGE_SECONDS, REFRESH_SECONDS, RETRY_SECONDS, UNKNOWN_SECONDS
from egress.interfaces import IClientAuthenticator
from egress.model.errors import (
    ClientAuthBusy,
    ClientAuthRequired,
    ClientAuthUnavailable,
    ClientCredentialsRejected,
)
from egress.model.jwt_issuer import JwtIssuer
from tests.client_auth.jwt_issuer import ED25519, ISSUER, NAME, NOW, P256, as_jwk, key_set, token
from tests.client_auth.test_key_source import IssuerTestCase

HERE = "198.51.100.7"
KEYS = key_set(as_jwk(P256))


def bearer(data: bytes) -> bytes:
    """Return credentials of the Bearer scheme."""
    return b"Bearer " + data


def basic(data: bytes, name: bytes = b"anyone") -> bytes:
    """Return credentials of the Basic scheme."""
    return b"Basic " + base64.b64encode(name + b":" + data)


class JwtAuthenticatorTests(IssuerTestCase):
    """Clients that authenticate with tokens."""

    def setUp(self) -> None:
        super().setUp()
        self.now = NOW
        self.authenticator = JwtAuthenticator(JwtIssuer(ISSUER), self.keys, lambda: self.now)

    def check(self, presented: bytes | None, address: str = HERE) -> Deferred[str]:
        return self.authenticator.check(presented, address)

    def test_interface(self) -> None:
        verifyObject(IClientAuthenticator, self.authenticator)

    def test_schemes(self) -> None:
        """As a Bearer token, or as the password of any name."""
        self.download(KEYS)
        for number, make in enumerate((bearer, basic, lambda data: basic(data, b""))):
            presented = make(token(x=number))
            self.assertIsNone(self.authenticator.cached_identity(presented))
            self.assertEqual(self.successResultOf(self.check(presented)), NAME)
            self.assertEqual(self.authenticator.cached_identity(presented), NAME)

    def test_missing(self) -> None:
        self.download(KEYS)
        for presented in (None, b"", b"Digest x", b"Basic !", b"Bearer", b"Bearer " + b"x" * 20_000):
            self.failureResultOf(self.check(presented), ClientAuthRequired)
        self.assertIsNone(self.authenticator.cached_identity(b"x" * 20_000))

    def test_rejected(self) -> None:
        self.download(KEYS)
        for presented in (
            bearer(b"t0ken"),
            basic(b"s3cret"),
            bearer(token(aud="other")),
            bearer(token(key=None) + b"A"),
        ):
            error = self.failureResultOf(self.check(presented), ClientCredentialsRejected).value
            self.assertIn("the token is not accepted", error.reason)
            self.assertIsNone(self.authenticator.cached_identity(presented))

    def test_no_download_for_other_tokens(self) -> None:
        """Only a token that could be valid makes the proxy contact the issuer."""
        for data in (token(aud="other"), token(iss="https://other.test"), token(exp=NOW - 100), b"a.b.c"):
            self.failureResultOf(self.check(bearer(data)), ClientCredentialsRejected)
        self.assertEqual(self.downloads, [])

    def test_waits_for_keys(self) -> None:
        waiting = [self.check(bearer(token(x=number))) for number in range(3)]
        self.assertEqual(len(self.downloads), 1)
        self.downloads[0].callback(KEYS)
        self.assertEqual([self.successResultOf(each) for each in waiting], [NAME] * 3)

    def test_no_keys(self) -> None:
        """Without keys, no token is valid."""
        waiting = self.check(bearer(token()))
        self.downloads[0].errback(ClientAuthUnavailable("it is down"))
        error = self.failureResultOf(waiting, ClientAuthUnavailable).value
        self.assertIn("it is down", error.reason)
        self.failureResultOf(self.check(bearer(token())), ClientAuthUnavailable)
        self.clock.advance(RETRY_SECONDS)
        waiting = self.check(bearer(token()))
        self.downloads[1].callback(KEYS)
        self.successResultOf(waiting)

    def test_new_key(self) -> None:
        """The issuer signs with a new key before the proxy knows it."""
        self.download(KEYS)
        new = bearer(token("EdDSA", header={"kid": "new"}))
        self.failureResultOf(self.check(new), ClientCredentialsRejected)
        self.clock.advance(UNKNOWN_SECONDS)
        waiting = self.check(new)
        self.downloads[-1].callback(key_set(as_jwk(P256), as_jwk(ED25519, "new")))
        self.assertEqual(self.successResultOf(waiting), NAME)

    def test_flood_of_unknown_keys(self) -> None:
        """It causes one download at a time, and a limited number of clients wait for it."""
        self.download(KEYS)
        self.clock.advance(UNKNOWN_SECONDS)
        waiting = [
            self.check(bearer(token(header={"kid": f"k-{number}"}))) for number in range(WAITING_PER_ADDRESS + 1)
        ]
        self.failureResultOf(waiting.pop(), ClientAuthBusy)
        self.assertEqual(len(self.downloads), 2)
        elsewhere = self.check(bearer(token(header={"kid": "x"})), "203.0.113.9")
        self.assertNoResult(elsewhere)
        # A client with a known key is served meanwhile.
        self.assertEqual(self.successResultOf(self.check(bearer(token()))), NAME)
        self.downloads[-1].callback(KEYS)
        self.clock.pump([0] * 5)
        for each in [*waiting, elsewhere]:
            error = self.failureResultOf(each, ClientCredentialsRejected).value
            self.assertIn("a key that its issuer does not publish", error.reason)
        for number in range(100):
            self.failureResultOf(self.check(bearer(token(header={"kid": f"n-{number}"}))), ClientCredentialsRejected)
        self.assertEqual(len(self.downloads), 2)

    def test_all_that_wait(self) -> None:
        with mock.patch.object(jwt_authenticator, "WAITING", 2):
            waiting = [self.check(bearer(token(x=number)), f"203.0.113.{number}") for number in range(3)]
            self.failureResultOf(waiting.pop(), ClientAuthBusy)
            waiting[0].cancel()
            self.failureResultOf(waiting[0], CancelledError)
            waiting.append(self.check(bearer(token()), HERE))
        self.downloads[0].callback(KEYS)
        self.assertEqual([self.successResultOf(each) for each in waiting[1:]], [NAME] * 2)

    def test_cached_until_expiry(self) -> None:
        self.download(KEYS)
        presented = bearer(token(exp=NOW + 60))
        self.successResultOf(self.check(presented))
        self.now = NOW + 59.9
        self.assertEqual(self.authenticator.cached_identity(presented), NAME)
        self.now = NOW + 60
        self.assertIsNone(self.authenticator.cached_identity(presented))
        self.now = NOW + 100
        self.failureResultOf(self.check(presented), ClientCredentialsRejected)

    def test_bounded_cache(self) -> None:
        self.download(KEYS)
        presented = [bearer(token(x=number)) for number in range(3)]
        with mock.patch.object(jwt_authenticator, "REMEMBERED", 2):
            for each in presented[:2]:
                self.check(each)
            # The use of an entry keeps it.
            self.authenticator.cached_identity(presented[0])
            self.check(presented[2])
        found = [self.authenticator.cached_identity(each) for each in presented]
        self.assertEqual(found, [NAME, None, NAME])

    def test_withdrawn_key(self) -> None:
        """Identities that a withdrawn key verified are forgotten."""
        self.download(KEYS)
        presented = bearer(token())
        self.successResultOf(self.check(presented))
        self.clock.advance(REFRESH_SECONDS)
        self.assertEqual(self.authenticator.cached_identity(presented), NAME)
        self.downloads[-1].callback(key_set(as_jwk(ED25519)))
        self.assertIsNone(self.authenticator.cached_identity(presented))
        self.failureResultOf(self.check(presented), ClientCredentialsRejected)

    def test_keys_that_are_too_old(self) -> None:
        """Cached identities end with the keys."""
        self.download(KEYS)
        presented = bearer(token(exp=NOW + 10 * MAX_AGE_SECONDS))
        self.successResultOf(self.check(presented))
        self.clock.advance(MAX_AGE_SECONDS)
        self.assertIsNone(self.authenticator.cached_identity(presented))
        self.downloads[-1].errback(ClientAuthUnavailable("it is down"))
        self.failureResultOf(self.check(presented), ClientAuthUnavailable)
