"""The messages of a SOCKS5 client (RFC 1928, RFC 1929), and the messages with which a server responds."""

from __future__ import annotations

import enum
from base64 import b64encode
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import attrs

from egress.model.authority import Authority, normalize_host
from egress.model.errors import (
    AddressForbidden,
    BadRequest,
    BudgetExhausted,
    CertificateNotPermitted,
    ClientCredentialsRejected,
    ClientError,
    Denied,
    EgressError,
    InvalidTarget,
    NameNotResolved,
    OriginConnectTimeout,
    OriginUnreachable,
    PortForbidden,
    ResolutionTimeout,
    UnsupportedRequest,
)
from egress.socks import codes
from egress.socks.codes import Reply

# The length of an IPv4 and an IPv6 address.
_WIDTHS: Final = {codes.IPV4: 4, codes.IPV6: 16}
# The address that a server reports (BND.ADDR). Clients of CONNECT do not need it, and it would tell a client which
# addresses the proxy uses.
_UNSPECIFIED: Final = bytes([codes.IPV4]) + bytes(6)

_REPLIES: Final[dict[type[EgressError], Reply]] = {
    ClientCredentialsRejected: Reply.NOT_ALLOWED,
    Denied: Reply.NOT_ALLOWED,
    BudgetExhausted: Reply.NOT_ALLOWED,
    AddressForbidden: Reply.NOT_ALLOWED,
    PortForbidden: Reply.NOT_ALLOWED,
    CertificateNotPermitted: Reply.NOT_ALLOWED,
    NameNotResolved: Reply.HOST_UNREACHABLE,
    ResolutionTimeout: Reply.HOST_UNREACHABLE,
    OriginUnreachable: Reply.HOST_UNREACHABLE,
    OriginConnectTimeout: Reply.TTL_EXPIRED,
}


class InvalidSocks(Exception):
    """A message that is malformed, or that the proxy does not support.

    @ivar error: the error, for the audit log.
    @ivar response: the last message to the client; empty if there is none.
    """

    def __init__(self, error: ClientError, response: bytes = b"") -> None:
        super().__init__(error.reason)
        self.error = error
        self.response = response


@attrs.frozen
class Greeting:
    """The first message of a client.

    @ivar methods: the authentication methods that the client supports.
    """

    methods: frozenset[int]


@attrs.frozen
class Login:
    """The name and the password of a client.

    @ivar name: the name.
    @ivar password: the password.
    """

    name: bytes
    password: bytes = attrs.field(repr=False)

    @property
    def credentials(self) -> bytes | None:
        """The same credentials as a value of C{Proxy-Authorization} (RFC 7617 section 2); C{None} for a name that the
        value cannot contain.
        """
        return None if b":" in self.name else b"Basic " + b64encode(self.name + b":" + self.password)


@attrs.frozen
class Connect:
    """A request for a connection.

    @ivar authority: the destination.
    """

    authority: Authority


class _Stage(enum.Enum):
    GREETING = "the greeting"
    METHOD = "nothing, until a method is selected"
    LOGIN = "the name and the password"
    REQUEST = "the request"
    DONE = "nothing more"


class SocksReader:
    """Reads the messages of one client.

    The caller pulls messages, and sets what follows: L{expect_login} or L{expect_request}.
    """

    def __init__(self) -> None:
        self._data = b""
        self._stage = _Stage.GREETING

    def receive(self, data: bytes) -> None:
        """Add data from the client."""
        self._data += data

    def take_remaining(self) -> bytes:
        """Remove and return the data after the last message."""
        data, self._data = self._data, b""
        return data

    def expect_login(self) -> None:
        """Read a name and a password next."""
        self._stage = _Stage.LOGIN

    def expect_request(self) -> None:
        """Read the request next."""
        self._stage = _Stage.REQUEST

    def next_message(self) -> Greeting | Login | Connect | None:
        """Return the next message, or C{None} if more data is needed.

        @raise InvalidSocks: if the message is not valid. The connection cannot continue after it.
        """
        if not self._data:
            return None
        if self._stage is _Stage.GREETING:
            return self._greeting()
        if self._stage is _Stage.LOGIN:
            return self._login()
        return self._request() if self._stage is _Stage.REQUEST else None

    def _take(self, length: int) -> bytes:
        taken, self._data = self._data[:length], self._data[length:]
        return taken

    def _greeting(self) -> Greeting | None:
        version = self._data[0]
        if version == codes.VERSION_4:
            raise InvalidSocks(
                UnsupportedRequest("the client speaks SOCKS4: configure it for SOCKS5 (socks5h://)"), socks4_rejection()
            )
        if version != codes.VERSION:
            raise InvalidSocks(BadRequest("the SOCKS greeting is malformed"))
        if len(self._data) < 2:
            return None
        number = self._data[1]
        if not number:
            raise InvalidSocks(BadRequest("the SOCKS greeting names no authentication method"), no_method())
        if len(self._data) < 2 + number:
            return None
        self._stage = _Stage.METHOD
        return Greeting(frozenset(self._take(2 + number)[2:]))

    def _login(self) -> Login | None:
        data = self._data
        if data[0] != codes.LOGIN_VERSION:
            raise InvalidSocks(BadRequest("the SOCKS user name and password are malformed"), login_status(False))
        if len(data) < 2 or len(data) < 3 + data[1]:
            return None
        end = 2 + data[1]
        length = end + 1 + data[end]
        if len(data) < length:
            return None
        self._stage = _Stage.METHOD
        message = self._take(length)
        return Login(message[2:end], message[end + 1 :])

    def _request(self) -> Connect | None:
        data = self._data
        malformed = InvalidSocks(BadRequest("the SOCKS request is malformed"), reply(Reply.GENERAL_FAILURE))
        # In the order of the bytes, so that the error does not depend on how they arrive.
        if data[0] != codes.VERSION:
            raise malformed
        if len(data) >= 2 and data[1] != codes.CONNECT:
            raise InvalidSocks(
                UnsupportedRequest("the SOCKS request is not a CONNECT: BIND and UDP ASSOCIATE are not supported"),
                reply(Reply.COMMAND_NOT_SUPPORTED),
            )
        if data[2:3] not in (b"", b"\0"):
            raise malformed
        if len(data) < 5:
            return None
        kind = data[3]
        start = 5 if kind == codes.NAME else 4
        width = data[4] if kind == codes.NAME else _WIDTHS.get(kind)
        if width is None:
            raise InvalidSocks(
                BadRequest("the SOCKS request has an unknown type of address"), reply(Reply.ADDRESS_NOT_SUPPORTED)
            )
        if len(data) < start + width + 2:
            return None
        self._stage = _Stage.DONE
        message = self._take(start + width + 2)
        try:
            host, port = _host(kind, message[start:-2]), int.from_bytes(message[-2:], "big")
        except InvalidTarget as error:
            raise InvalidSocks(error, reply(Reply.GENERAL_FAILURE)) from error
        if not port:
            raise InvalidSocks(InvalidTarget("the port is 0"), reply(Reply.GENERAL_FAILURE))
        return Connect(Authority(host, port))


def _host(kind: int, data: bytes) -> str:
    """Normalize the host of a request; see L{normalize_host}."""
    if kind == codes.IPV4:
        return str(IPv4Address(data))
    if kind == codes.IPV6:
        address = IPv6Address(data)
        return str(address.ipv4_mapped or address)
    if not data.isascii():
        raise InvalidTarget("the host is not ASCII")
    text = data.decode("ascii")
    # Some clients send an address as a name.
    return normalize_host(f"[{text}]" if ":" in text and not text.startswith("[") else text)


def selected(method: int) -> bytes:
    """The message that selects an authentication method."""
    return bytes([codes.VERSION, method])


def no_method() -> bytes:
    """The message that no authentication method is acceptable."""
    return selected(codes.NO_METHOD)


def login_status(accepted: bool) -> bytes:
    """The message that a name and a password are accepted, or rejected."""
    return bytes([codes.LOGIN_VERSION, not accepted])


def reply(code: Reply) -> bytes:
    """The reply to a request."""
    return bytes([codes.VERSION, code, 0]) + _UNSPECIFIED


def reply_to(error: EgressError) -> bytes:
    """The reply to a request that was rejected, or that failed."""
    return reply(_REPLIES.get(type(error), Reply.GENERAL_FAILURE))


def socks4_rejection() -> bytes:
    """The reply to a SOCKS4 client: rejected (91)."""
    return b"\0\x5b" + bytes(6)
