"""The authenticator of clients that send a token of an issuer.

A check takes a fraction of a millisecond, so it needs no thread.  Clients wait only while keys are downloaded.
"""

from __future__ import annotations

import hmac
import os
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from egress.client_auth.jwt_keys import KeySet
from egress.client_auth.jwt_tokens import MAX_TOKEN, UnverifiedToken, read_token
from egress.client_auth.key_source import KeySource
from egress.http.proxy_authorization import Bearer, parse_credentials
from egress.interfaces import IClientAuthenticator
from egress.model.errors import ClientAuthBusy, ClientAuthRequired, ClientCredentialsRejected, EgressError
from egress.model.jwt_issuer import JwtIssuer
from egress.model.limit_key import limit_key

# The maximum number of cached identities.
REMEMBERED: Final = 4096
# The maximum number of clients that wait for keys, and of those with one address.
WAITING: Final = 1024
WAITING_PER_ADDRESS: Final = 32
# The maximum size of credentials: a token in Base64, after a user name.
_MAX_PRESENTED: Final = MAX_TOKEN * 4 // 3 + 1024


@implementer(IClientAuthenticator)
class JwtAuthenticator:
    """Authenticates clients by the tokens of one issuer.

    @param settings: the accepted tokens.
    @param keys: the keys of the issuer.
    @param now: returns seconds since the epoch.
    @ivar keys: the keys of the issuer.
    """

    def __init__(self, settings: JwtIssuer, keys: KeySource, now: Callable[[], float]) -> None:
        self.keys = keys
        self._settings = settings
        self._now = now
        # The digests use a random key, as the digests of passwords.
        self._key = os.urandom(32)
        # Only for tokens that the keys in use have verified.
        self._cached: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._verified_with: KeySet | None = None
        self._waiting: Counter[str] = Counter()

    def _digest(self, presented: bytes) -> bytes:
        return hmac.digest(self._key, presented, "sha256")

    def _keys_in_use(self) -> KeySet | None:
        keys = self.keys.current()
        if keys is not self._verified_with:
            # The issuer may have withdrawn a key.
            self._cached.clear()
            self._verified_with = keys
        return keys

    def cached_identity(self, presented: bytes) -> str | None:
        """See L{IClientAuthenticator.cached_identity}."""
        if self._keys_in_use() is None or len(presented) > _MAX_PRESENTED:
            return None
        digest = self._digest(presented)
        found = self._cached.get(digest)
        if found is None or self._now() >= found[1]:
            return None
        self._cached.move_to_end(digest)
        return found[0]

    def check(self, presented: bytes | None, address: str) -> Deferred[str]:
        """See L{IClientAuthenticator.check}."""
        if presented is None:
            return fail(ClientAuthRequired("this proxy requires authentication: send a token"))
        credentials = parse_credentials(presented) if len(presented) <= _MAX_PRESENTED else None
        if credentials is None:
            return fail(
                ClientAuthRequired(
                    "the proxy credentials are malformed: send a token, as Bearer token or as the password"
                )
            )
        data = credentials.token if isinstance(credentials, Bearer) else credentials.password
        try:
            token = read_token(data, self._settings, self._now())
            name = self._verify(token, presented)
        except EgressError as error:
            return fail(error)
        return self._wait(token, presented, limit_key(address)) if name is None else succeed(name)

    def _verify(self, token: UnverifiedToken, presented: bytes) -> str | None:
        """Verify a token.

        @return: the name; C{None} if its key is not known.
        """
        keys = self._keys_in_use()
        key = None if keys is None else keys.find(token.key_id)
        if key is None:
            return None
        name = token.verified(key)
        digest = self._digest(presented)
        self._cached[digest] = (name, token.expires)
        self._cached.move_to_end(digest)
        if len(self._cached) > REMEMBERED:
            self._cached.popitem(last=False)
        return name

    def _unknown(self) -> EgressError:
        if self._keys_in_use() is None:
            return self.keys.unavailable()
        return ClientCredentialsRejected(
            "the token is not accepted: it is signed with a key that its issuer does not publish"
        )

    def _wait(self, token: UnverifiedToken, presented: bytes, address_key: str) -> Deferred[str]:
        """Wait for newer keys, if they can be downloaded now."""
        if self._waiting[address_key] >= WAITING_PER_ADDRESS or self._waiting.total() >= WAITING:
            return fail(ClientAuthBusy("too many clients wait for the keys of the issuer: try again later"))
        newer = self.keys.refresh()
        if newer is None:
            return fail(self._unknown())
        self._waiting[address_key] += 1

        def verify(_: None) -> str:
            name = self._verify(token, presented)
            if name is None:
                raise self._unknown()
            return name

        def over(result: object) -> object:
            self._waiting[address_key] -= 1
            if not self._waiting[address_key]:
                del self._waiting[address_key]
            return result

        waiting: Deferred[str] = newer.addCallback(verify)
        waiting.addBoth(over)
        return waiting
