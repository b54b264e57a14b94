"""A file with the hashed secrets of clients, one secret per line.

A line has the form C{name:scheme:hash}:

  - C{alice:scrypt:32768:8:1:SALT:HASH} for a password, which people choose, and which must be expensive to guess.  The
    numbers are the parameters N, r and p of scrypt (RFC 7914); salt and hash are hexadecimal.
  - C{ci:sha256:HASH} for a random token.  A random token cannot be guessed, so a plain hash protects it as well, and a
    check takes microseconds.

The duration of a comparison does not depend on how much of a secret is correct.  An unknown name takes as long as a
known one if all passwords have the same parameters, and otherwise as long as the most expensive one.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from typing import Final

import attrs

from egress.http.proxy_authorization import Basic, Bearer

SALT_BYTES: Final = 16
HASH_BYTES: Final = 32

# The accepted parameters of a line: not so cheap that guessing pays, and not so expensive that a check is an attack.
_MIN_COST: Final = 2**14 * 8
_MAX_COST: Final = 2**15 * 8 * 8
_MAX_MEMORY: Final = 64 * 1024 * 1024

_NAME: Final = re.compile(r"[^\s:#][^:]{0,126}[^\s:]|[^\s:#]")
_PARAMETERS: Final = re.compile(r"([0-9]{1,7}):([0-9]{1,3}):([0-9]{1,3}):([0-9a-f]+):([0-9a-f]+)", re.IGNORECASE)
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)

Credentials = Basic | Bearer


class SecretsError(Exception):
    """A file with secrets that cannot be used.

    @ivar reason: one line that names the place and the remedy, and contains no part of a secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@attrs.frozen
class PasswordHash:
    """The hash of a password.

    @ivar n: the cost in time and memory, a power of two.
    @ivar r: the block size.
    @ivar p: the cost in time only.
    @ivar salt: random bytes, different for each password.
    @ivar digest: the hash.
    """

    n: int = 2**15
    r: int = 8
    p: int = 1
    salt: bytes = attrs.field(factory=lambda: os.urandom(SALT_BYTES), repr=False)
    digest: bytes = attrs.field(factory=lambda: os.urandom(HASH_BYTES), repr=False)

    @property
    def cost(self) -> int:
        """The cost of a check, in units of scrypt."""
        return self.n * self.r * self.p

    def of(self, password: bytes) -> bytes:
        """Return the hash of a password with this salt."""
        memory = 128 * self.r * (self.n + self.p + 2)
        return hashlib.scrypt(
            password, salt=self.salt, n=self.n, r=self.r, p=self.p, maxmem=2 * memory, dklen=HASH_BYTES
        )

    def fits(self, password: bytes) -> bool:
        """Tell whether a password matches.  This takes tens of milliseconds, and lets other threads run."""
        return hmac.compare_digest(self.of(password), self.digest)


def password_line(name: str, password: bytes) -> str:
    """Format the line for a password."""
    made = PasswordHash()
    return f"{name}:scrypt:{made.n}:{made.r}:{made.p}:{made.salt.hex()}:{made.of(password).hex()}"


def token_line(name: str, token: bytes) -> str:
    """Format the line for a token."""
    return f"{name}:sha256:{hashlib.sha256(token).hexdigest()}"


def is_name(text: str) -> bool:
    """Tell whether a text is a valid client name."""
    return text.isprintable() and _NAME.fullmatch(text) is not None


def _password_hash(text: str) -> PasswordHash:
    match = _PARAMETERS.fullmatch(text)
    if match is None:
        raise ValueError("write scrypt:N:r:p:salt:hash, with salt and hash in hexadecimal")
    n, r, p = (int(match[number]) for number in (1, 2, 3))
    if len(match[4]) < 2 * SALT_BYTES or len(match[4]) % 2 or len(match[5]) != 2 * HASH_BYTES:
        raise ValueError(f"the salt must have at least {SALT_BYTES} bytes, and the hash {HASH_BYTES}")
    made = PasswordHash(n, r, p, bytes.fromhex(match[4]), bytes.fromhex(match[5]))
    if n < 2 or n & (n - 1):
        raise ValueError("N must be a power of two")
    if made.cost < _MIN_COST:
        raise ValueError("these parameters make the hash too weak; use 32768:8:1")
    if made.cost > _MAX_COST or 128 * n * r > _MAX_MEMORY:
        raise ValueError("these parameters make a check too expensive; use 32768:8:1")
    return made


class ClientSecrets:
    """All clients of one file.

    @param passwords: the password hashes by client name.
    @param tokens: the client names by token hash; a client may have several tokens.
    """

    def __init__(self, passwords: Mapping[str, PasswordHash], tokens: Mapping[bytes, str]) -> None:
        self._passwords = dict(passwords)
        self._tokens = dict(tokens)
        # The hash for the check of an unknown name: as expensive as the most expensive known one.
        costliest = max(self._passwords.values(), key=lambda each: each.cost, default=None)
        self._dummy = None if costliest is None else PasswordHash(costliest.n, costliest.r, costliest.p)

    def __len__(self) -> int:
        return len({*self._passwords, *self._tokens.values()})

    @classmethod
    def parse(cls, text: str, where: str) -> ClientSecrets:
        """Parse a file.  A file without clients is valid: it means that no client may send requests.

        @param text: the content of the file.
        @param where: the name of the file in errors.
        @raise SecretsError: names the invalid line; a missing client is better than one whose secret was misread.
        """
        passwords: dict[str, PasswordHash] = {}
        tokens: dict[bytes, str] = {}
        for number, line in enumerate(text.split("\n"), 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            try:
                _read_line(line, passwords, tokens)
            except ValueError as error:
                raise SecretsError(f"{where}, line {number}: {error}") from None
        return cls(passwords, tokens)

    def by_token(self, credentials: Credentials) -> str | None:
        """Return the client that owns a token, sent as a Bearer token or as the password of its name.

        The lookup uses a hash, which an attacker cannot choose in part: its duration reveals nothing about a token.
        """
        if isinstance(credentials, Bearer):
            return self._tokens.get(hashlib.sha256(credentials.token).digest())
        found = [self._tokens.get(hashlib.sha256(token).digest()) for token in credentials.passwords]
        name = next((name for name in found if name is not None), None)
        if name is None:
            return None
        return name if hmac.compare_digest(name.encode("utf-8"), credentials.name.encode("utf-8")) else None

    def needs_time(self, credentials: Credentials) -> bool:
        """Tell whether L{by_password} has to check the credentials."""
        return self._dummy is not None and isinstance(credentials, Basic)

    def by_password(self, credentials: Basic) -> bool:
        """Tell whether the credentials match a client's password.  This is expensive, for unknown names as well."""
        known = self._passwords.get(credentials.name, self._dummy)
        if known is None:
            return False
        # All encodings are checked, for unknown names as well, so that each check takes the same time.
        found = [known.fits(password) for password in credentials.passwords]
        return True in found and credentials.name in self._passwords


def _read_line(line: str, passwords: dict[str, PasswordHash], tokens: dict[bytes, str]) -> None:
    name, _, rest = line.partition(":")
    scheme, _, hashed = rest.partition(":")
    # No error quotes the line: it may contain a secret in clear text.
    if not is_name(name):
        raise ValueError("the name is missing or invalid; write name:scheme:hash, with a name of up to 128 characters")
    if scheme == "scrypt":
        if name in passwords:
            raise ValueError("this client already has a password; remove one of the lines")
        passwords[name] = _password_hash(hashed)
    elif scheme == "sha256":
        if not _HASH.fullmatch(hashed):
            raise ValueError("write sha256:hash, with the hash of the token in 64 hexadecimal digits")
        digest = bytes.fromhex(hashed)
        if digest in tokens:
            raise ValueError("another line has the same token; use a different token for each client")
        tokens[digest] = name
    else:
        raise ValueError("unknown scheme; use scrypt or sha256, or generate the line with: egress client NAME")
