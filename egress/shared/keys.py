"""The keys of replicas: names that reveal nothing, and values that only a holder of the secret can write.

Someone who can write to the engine can delete and replay values, but cannot create or change one.  Each value is
encrypted and authenticated together with its name (AES-256-GCM).  A replayed value is one that a replica has written
under the same name, so it also contains the time until which it is valid.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64encode
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SALT: Final = 16
# Each value has a key of its own, so that no nonce can occur twice.
_NONCE: Final = bytes(12)
_VERSION: Final = b"egressproxy shared state 1\0"


class SharedKeys:
    """Makes names and sealed values.

    @param secret: the secret of all replicas; at least L{egress.config.shared.MIN_KEY} random bytes.
    @param namespace: separates the users of one secret, such as the name of an authorizer.
    """

    def __init__(self, secret: bytes, namespace: str) -> None:
        context = namespace.encode("utf-8")
        self._names = hmac.digest(secret, _VERSION + b"names\0" + context, "sha256")
        self._values = hmac.digest(secret, _VERSION + b"values\0" + context, "sha256")

    def derived(self) -> bytes:
        """Return a key for a purpose outside the engine, which all replicas have."""
        return hmac.digest(self._names, b"key", "sha256")

    def group(self, facts: bytes) -> bytes:
        """Return a group of names, which are all in one slot of a cluster.

        @param facts: what distinguishes the group from others.
        """
        return urlsafe_b64encode(hmac.digest(self._names, b"group\0" + facts, "sha256")[:30])

    def name(self, group: bytes, kind: bytes, facts: bytes = b"") -> bytes:
        """Return the name of a value.

        @param group: its group, as L{group} returns it.
        @param kind: the kind of the value: letters.
        @param facts: what distinguishes the value from others of its kind.
        """
        digest = hmac.digest(self._names, b"name\0%b\0%b\0%b" % (group, kind, facts), "sha256")
        # The braces mark the part of the name that selects the slot.
        return b"egress:{%b}:%b:%b" % (group, kind, urlsafe_b64encode(digest[:30]))

    def seal(self, name: bytes, content: bytes) -> bytes:
        """Encrypt and authenticate the content of a value.

        @param name: the name under which it is stored.
        """
        salt = os.urandom(_SALT)
        return salt + self._cipher(salt).encrypt(_NONCE, content, name)

    def unseal(self, name: bytes, value: bytes) -> bytes | None:
        """Return the content of a value; C{None} unless a holder of the secret has sealed it for this name."""
        try:
            return self._cipher(value[:_SALT]).decrypt(_NONCE, value[_SALT:], name)
        except InvalidTag:
            return None

    def _cipher(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._values, salt, "sha256"))
