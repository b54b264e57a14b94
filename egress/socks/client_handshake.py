"""The client side of SOCKS5: opens a tunnel through an upstream proxy (RFC 1928, RFC 1929)."""

from __future__ import annotations

import enum
from typing import Final

from egress.model.authority import Authority, UpstreamHop
from egress.model.errors import UpstreamRefused, UpstreamUnreachable
from egress.socks import codes
from egress.socks.codes import Reply

_REASONS: Final = {
    Reply.GENERAL_FAILURE: "a general failure",
    Reply.NOT_ALLOWED: "its rules do not allow the connection",
    Reply.NETWORK_UNREACHABLE: "the network cannot be reached",
    Reply.HOST_UNREACHABLE: "the host cannot be reached",
    Reply.CONNECTION_REFUSED: "the host refused the connection",
    Reply.TTL_EXPIRED: "the host did not respond in time",
    Reply.COMMAND_NOT_SUPPORTED: "it does not support CONNECT",
    Reply.ADDRESS_NOT_SUPPORTED: "it does not support this type of address",
}
# The replies after which another address of the same host may work.
_OTHER_ADDRESS: Final = frozenset(
    {
        Reply.NETWORK_UNREACHABLE,
        Reply.HOST_UNREACHABLE,
        Reply.CONNECTION_REFUSED,
        Reply.TTL_EXPIRED,
        Reply.ADDRESS_NOT_SUPPORTED,
    }
)
_WIDTHS: Final = {codes.IPV4: 4, codes.IPV6: 16}


class _Stage(enum.Enum):
    METHOD = "the method"
    LOGIN = "the result of the authentication"
    REPLY = "the reply"


class SocksHandshake:
    """Opens a tunnel through an upstream proxy.

    Send L{request}, then pass the received data to L{receive} until it returns the bytes that follow the reply. After
    each call, send L{take_output}.

    @ivar upstream: the upstream proxy.
    @param authority: the destination: a name, or an address.
    """

    def __init__(self, upstream: UpstreamHop, authority: Authority) -> None:
        self.upstream = upstream
        self._authority = authority
        self._stage = _Stage.METHOD
        self._buffer = self._output = b""
        methods = (codes.NO_AUTHENTICATION,) if upstream.login is None else (codes.NO_AUTHENTICATION, codes.LOGIN)
        self._methods = methods

    @property
    def logged_in(self) -> bool:
        """Whether the upstream proxy has accepted the credentials, or requires none."""
        return self._stage is _Stage.REPLY

    def request(self) -> bytes:
        """The greeting."""
        return bytes([codes.VERSION, len(self._methods), *self._methods])

    def take_output(self) -> bytes:
        """Remove and return the messages to send."""
        output, self._output = self._output, b""
        return output

    def receive(self, data: bytes) -> bytes | None:
        """Process data from the upstream proxy.

        @return: once the tunnel is established, the data after the reply; C{None} while it is not.
        @raise UpstreamRefused: if the upstream proxy rejects the authentication or the request.
        @raise UpstreamUnreachable: if it does not speak SOCKS5.
        """
        self._buffer += data
        if self._stage is _Stage.METHOD and len(self._buffer) >= 1:
            self._receive_method()
        if self._stage is _Stage.LOGIN and len(self._buffer) >= 1:
            self._receive_login()
        return self._receive_reply() if self._stage is _Stage.REPLY else None

    def _receive_method(self) -> None:
        if self._buffer[0] != codes.VERSION:
            raise self._not_socks()
        if len(self._buffer) < 2:
            return
        method = self._buffer[1]
        self._buffer = self._buffer[2:]
        login = self.upstream.login
        if method == codes.LOGIN and login is not None:
            name, password = login
            self._stage = _Stage.LOGIN
            self._output += b"%c%c%b%c%b" % (codes.LOGIN_VERSION, len(name), name, len(password), password)
        elif method == codes.NO_AUTHENTICATION:
            self._send_request()
        elif method in (codes.LOGIN, codes.NO_METHOD):
            hint = "check" if login else "set"
            raise self._refused(f"its authentication methods are different; {hint} the credentials in --upstream-proxy")
        else:
            raise self._not_socks()

    def _receive_login(self) -> None:
        if self._buffer[0] != codes.LOGIN_VERSION:
            raise self._not_socks()
        if len(self._buffer) < 2:
            return
        if self._buffer[1]:
            raise self._refused("it rejects the name or the password; check the credentials in --upstream-proxy")
        self._buffer = self._buffer[2:]
        self._send_request()

    def _send_request(self) -> None:
        self._stage = _Stage.REPLY
        address = self._authority.ip
        if address is None:
            name = self._authority.host.encode("ascii")
            destination = b"%c%c%b" % (codes.NAME, len(name), name)
        else:
            destination = b"%c%b" % (codes.IPV4 if address.version == 4 else codes.IPV6, address.packed)
        port = self._authority.port.to_bytes(2, "big")
        self._output += b"%c%c\0%b%b" % (codes.VERSION, codes.CONNECT, destination, port)

    def _receive_reply(self) -> bytes | None:
        buffer = self._buffer
        if buffer[:1] not in (b"", b"\x05"):
            raise self._not_socks()
        if len(buffer) >= 2 and buffer[1] != Reply.SUCCEEDED:
            # Some proxies close the connection without the rest of the reply.
            raise self._reply_error(buffer[1])
        if len(buffer) < 5:
            return None
        # The address that the upstream proxy uses, which has no effect.
        width = 1 + buffer[4] if buffer[3] == codes.NAME else _WIDTHS.get(buffer[3])
        if width is None:
            raise self._not_socks()
        end = 4 + width + 2
        return buffer[end:] if len(buffer) >= end else None

    def _reply_error(self, code: int) -> UpstreamRefused:
        if code not in _REASONS:
            return self._refused(f"the reply {code}")
        text = f"{_REASONS[Reply(code)]} (SOCKS reply {code})"
        return self._refused(text, other_address=code in _OTHER_ADDRESS)

    def _refused(self, reason: str, *, other_address: bool = False) -> UpstreamRefused:
        text = f"the upstream proxy {self.upstream.authority} did not connect to {self._authority}: {reason}"
        return UpstreamRefused(text, other_address=other_address)

    def _not_socks(self) -> UpstreamUnreachable:
        return UpstreamUnreachable(f"the upstream proxy {self.upstream.authority} did not respond with SOCKS5")
