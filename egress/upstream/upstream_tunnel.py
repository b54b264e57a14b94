"""The CONNECT to an upstream proxy, on a connection that the proxy opens."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from egress.http.connect_handshake import ConnectHandshake
from egress.model.errors import EgressError, UpstreamUnreachable
from egress.socks.client_handshake import SocksHandshake
from egress.transport.dialed import DialedProtocol


class UpstreamTunnel(DialedProtocol):
    """Requests a tunnel from the upstream proxy, then hands the connection to the inner protocol.

    @param handshake: the CONNECT and its response, of HTTP or of SOCKS5.
    @param inner: the protocol of the tunnel.
    @param opened: is called when the tunnel is open, before the inner protocol is connected.
    @param failed: is called with the error if there is no tunnel.
    """

    def __init__(
        self,
        handshake: ConnectHandshake | SocksHandshake,
        inner: IProtocol,
        opened: Callable[[], None],
        failed: Callable[[EgressError], None],
    ) -> None:
        self._handshake: ConnectHandshake | SocksHandshake | None = handshake
        self._inner = inner
        self._opened = opened
        self._failed = failed

    def send_connect(self) -> None:
        """Send the CONNECT: the connection to the upstream proxy is ready."""
        assert self._handshake is not None
        self.transport.write(self._handshake.request())

    def dataReceived(self, data: bytes) -> None:
        """Read the response to the CONNECT, or pass data on to the inner protocol."""
        if self._handshake is None:
            self._inner.dataReceived(data)
            return
        handshake = self._handshake
        try:
            rest = handshake.receive(data)
        except EgressError as error:
            self._failed(error)
            return
        output = handshake.take_output()
        if output:
            self.transport.write(output)
        if rest is not None:
            self._handshake = None
            self._opened()
            self._inner.makeConnection(self.transport)
            if rest:
                self._inner.dataReceived(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report the end of the connection, to the inner protocol if there is a tunnel."""
        super().connectionLost(reason)
        if self._handshake is None:
            self._inner.connectionLost(reason)
        else:
            proxy = f"the upstream proxy {self._handshake.upstream.authority}"
            self._failed(UpstreamUnreachable(f"{proxy} closed the connection before it responded to the CONNECT"))
