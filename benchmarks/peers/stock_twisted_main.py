"""A relay for CONNECT with only the parts of Twisted; C{stock_twisted.py} runs it.

python stock_twisted_main.py PORT
"""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.portforward import Proxy
from twisted.python.failure import Failure

_HEAD_END = b"\r\n\r\n"
_LONGEST_HEAD = 16384


class Origin(Proxy):
    """The other end of a tunnel."""

    noisy = False


class Client(Proxy):
    """Waits for a CONNECT, and then relays."""

    noisy = False
    head = b""

    def dataReceived(self, data: bytes) -> None:
        """Receive data of the head, or of the tunnel."""
        if self.peer is not None:
            super().dataReceived(data)
            return
        self.head += data
        head, end, rest = self.head.partition(_HEAD_END)
        if not end:
            if len(self.head) > _LONGEST_HEAD:
                self.transport.abortConnection()
            return
        self.transport.pauseProducing()
        words = head.split(b"\r\n", 1)[0].split()
        host, _, port = words[1].rpartition(b":") if len(words) == 3 and words[0] == b"CONNECT" else (b"", b"", b"")
        if not host or not port.isdigit():
            self.refuse(b"400 Bad Request")
            return
        connecting = HostnameEndpoint(reactor, host, int(port)).connect(Factory.forProtocol(Origin))
        connecting.addCallbacks(self.connected_to, self.failed, callbackArgs=(rest,))

    def connected_to(self, origin: Protocol, rest: bytes) -> None:
        """Connect the two sides; each side is paused while the other side does not accept more data."""
        if not self.connected:
            origin.transport.abortConnection()
            return
        mine, its = self.transport, origin.transport
        self.setPeer(origin)
        origin.setPeer(self)
        its.registerProducer(mine, True)
        mine.registerProducer(its, True)
        mine.setTcpNoDelay(True)
        its.setTcpNoDelay(True)
        mine.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if rest:
            its.write(rest)
        mine.resumeProducing()

    def failed(self, reason: Failure) -> None:
        """The connection to the origin failed."""
        self.refuse(b"502 Bad Gateway")

    def refuse(self, status: bytes) -> None:
        """Send an error response, and close."""
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.transport.loseConnection()


def main(port: int) -> None:
    """Run the relay."""
    endpoint = TCP4ServerEndpoint(reactor, port, backlog=1024, interface="127.0.0.1")
    endpoint.listen(Factory.forProtocol(Client))
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
