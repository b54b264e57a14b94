"""The location of the engine with the shared state of several replicas."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import attrs

from egress.model.authority import Authority
from egress.model.converters import BadValue, string
from egress.model.errors import InvalidTarget

DEFAULT_PORT: Final = 6379

_SCHEMES: Final = {"redis": False, "rediss": True}
_URL: Final = re.compile(r"(rediss?)://(?:([^@/?#\s]*)@)?([^@/?#\s]+)(?:/([0-9]{1,5})?)?")
_SOCKET: Final = re.compile(r"unix:(?:([^@/?#\s]*)@)?(/[^?#\0]*)(?:\?db=([0-9]{1,5}))?")
_EXAMPLES: Final = "redis://HOST:6379, rediss://USER@HOST/0, or unix:/run/redis/redis.sock"


@attrs.frozen(kw_only=True)
class SharedLocation:
    """The location of a Redis or Valkey.

    @ivar authority: its host and port; C{None} for a socket.
    @ivar path: the path of its UNIX socket; C{None} for a host.
    @ivar tls: whether connections use TLS.
    @ivar user: the ACL user; C{None}: the default user.
    @ivar database: the number of the database.
    """

    authority: Authority | None = None
    path: str | None = None
    tls: bool = False
    user: str | None = None
    database: int = 0

    @classmethod
    def parse(cls, value: object) -> SharedLocation:
        """Parse a location: C{redis://}, C{rediss://} (TLS) or C{unix:PATH}, without a password.

        @raise BadValue: if it is invalid.
        """
        if isinstance(value, SharedLocation):
            return value
        text = string(value)
        match = _SOCKET.fullmatch(text)
        if match is not None:
            return cls(path=match[2], user=_user(match[1]), database=int(match[3] or 0))
        match = _URL.fullmatch(text)
        if match is None:
            raise BadValue(f"write {_EXAMPLES}")
        user = _user(match[2])
        try:
            authority = Authority.parse(match[3], DEFAULT_PORT)
        except InvalidTarget as error:
            raise BadValue(f"write {_EXAMPLES}: {error.reason}") from error
        return cls(authority=authority, tls=_SCHEMES[match[1]], user=user, database=int(match[4] or 0))

    def __str__(self) -> str:
        """Return the location in the syntax of L{parse}, for messages; a user is not part of it."""
        database = self.database
        if self.authority is None:
            return f"unix:{self.path}?db={database}" if database else f"unix:{self.path}"
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{self.authority}/{database}" if database else f"{scheme}://{self.authority}"


def _user(text: str | None) -> str | None:
    if not text:
        return None
    if ":" in text:
        raise BadValue("remove the password: use --shared-password-file")
    return unquote(text)
