"""The numbers of SOCKS5 (RFC 1928, RFC 1929)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

VERSION: Final = 5
VERSION_4: Final = 4
# The version of the subnegotiation for user names and passwords (RFC 1929 section 2).
LOGIN_VERSION: Final = 1

NO_AUTHENTICATION: Final = 0x00
LOGIN: Final = 0x02
NO_METHOD: Final = 0xFF

CONNECT: Final = 0x01

IPV4: Final = 0x01
NAME: Final = 0x03
IPV6: Final = 0x04


class Reply(IntEnum):
    """The reply to a request (RFC 1928 section 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_NOT_SUPPORTED = 8
