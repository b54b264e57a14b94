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
SENTINEL_PORT: Final = 26379

MAX_SENTINELS: Final = 16
"""The maximum number of sentinels: they are asked one after another."""

_SCHEMES: Final = {"redis": False, "rediss": True}
_USER: Final = r"(?:([^@/?#\s]*)@)?"
_URL: Final = re.compile(rf"(rediss?)://{_USER}([^@/?#\s]+)(?:/([0-9]{{1,5}})?)?")
_SOCKET: Final = re.compile(rf"unix:{_USER}(/[^?#\0]*)(?:\?db=([0-9]{{1,5}}))?")
# A sentinel accepts only these characters in the name of a master.
_SENTINELS: Final = re.compile(
    rf"(rediss?)\+sentinel://{_USER}([^@/?#\s]+)/([A-Za-z0-9._-]+)(?:/([0-9]{{1,5}})?)?"
    r"(?:\?sentinel_username=([^&?#\s]+))?"
)
# How other clients write it, and a cluster.
_OTHER_SENTINELS: Final = re.compile(r"rediss?-sentinel:|rediss?\+sentinel:")
_CLUSTER: Final = re.compile(r"rediss?[+-]cluster:")
_EXAMPLES: Final = (
    "redis://HOST:6379, rediss://USER@HOST/0, redis+sentinel://HOST1:26379,HOST2:26379/MASTER, "
    "or unix:/run/redis/redis.sock"
)
_SENTINEL_EXAMPLE: Final = (
    "redis+sentinel://USER@HOST1:26379,HOST2:26379/MASTER/0?sentinel_username=USER, or rediss+sentinel:// with TLS"
)
_NO_CLUSTER: Final = (
    "a cluster is not supported: use one primary, or redis+sentinel://HOST1,HOST2/MASTER for a failover"
)


@attrs.frozen(kw_only=True)
class SharedLocation:
    """The location of a Redis or Valkey.

    @ivar authority: its host and port; C{None} for a socket, and if sentinels know it.
    @ivar path: the path of its UNIX socket; C{None} for a host.
    @ivar sentinels: the hosts and ports of the sentinels that know it.
    @ivar master: the name under which the sentinels know it; empty without sentinels.
    @ivar tls: whether connections use TLS, also those to sentinels.
    @ivar user: the ACL user; C{None}: the default user.
    @ivar sentinel_user: the ACL user of the sentinels; C{None}: the default user.
    @ivar database: the number of the database.
    """

    authority: Authority | None = None
    path: str | None = None
    sentinels: tuple[Authority, ...] = ()
    master: str = ""
    tls: bool = False
    user: str | None = None
    sentinel_user: str | None = None
    database: int = 0

    @classmethod
    def parse(cls, value: object) -> SharedLocation:
        """Parse a location, without a password.

        It is C{redis://}, C{rediss://} (TLS), C{redis+sentinel://}, C{rediss+sentinel://} or C{unix:PATH}.

        @raise BadValue: if it is invalid.
        """
        if isinstance(value, SharedLocation):
            return value
        text = string(value)
        match = _SOCKET.fullmatch(text)
        if match is not None:
            return cls(path=match[2], user=_user(match[1]), database=int(match[3] or 0))
        match = _SENTINELS.fullmatch(text)
        if match is not None:
            return cls(
                sentinels=_sentinels(match[3]),
                master=match[4],
                tls=_SCHEMES[match[1]],
                user=_user(match[2]),
                sentinel_user=None if match[6] is None else unquote(match[6]),
                database=int(match[5] or 0),
            )
        match = _URL.fullmatch(text)
        if match is None:
            raise BadValue(_remedy(text))
        user = _user(match[2])
        authority = _authority(match[3], DEFAULT_PORT)
        return cls(authority=authority, tls=_SCHEMES[match[1]], user=user, database=int(match[4] or 0))

    def __str__(self) -> str:
        """Return the location in the syntax of L{parse}, for messages; a user is not part of it."""
        database = self.database
        if self.path is not None:
            return f"unix:{self.path}?db={database}" if database else f"unix:{self.path}"
        scheme = "rediss" if self.tls else "redis"
        text = f"{scheme}://{self.authority}"
        if self.sentinels:
            text = f"{scheme}+sentinel://{','.join(map(str, self.sentinels))}/{self.master}"
        return f"{text}/{database}" if database else text


def _remedy(text: str) -> str:
    if _CLUSTER.match(text):
        return _NO_CLUSTER
    if _OTHER_SENTINELS.match(text):
        return f"write {_SENTINEL_EXAMPLE}; a password of the sentinels is in --shared-sentinel-password-file"
    return f"write {_EXAMPLES}"


def _authority(text: str, default_port: int) -> Authority:
    try:
        return Authority.parse(text, default_port)
    except InvalidTarget as error:
        raise BadValue(f"write {_EXAMPLES}: {error.reason}") from error


def _sentinels(text: str) -> tuple[Authority, ...]:
    found = tuple(dict.fromkeys(_authority(each, SENTINEL_PORT) for each in text.split(",")))
    if len(found) > MAX_SENTINELS:
        raise BadValue(f"name at most {MAX_SENTINELS} sentinels")
    return found


def _user(text: str | None) -> str | None:
    if not text:
        return None
    if ":" in text:
        raise BadValue("remove the password: use --shared-password-file")
    return unquote(text)
