"""A relay for CONNECT out of what Twisted has, and nothing else; run by C{stock_twisted.py}.

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
        """Of the head, or of the tunnel."""
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
        """Join the two; each side is paused while the other does not take more."""
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
        """There is no origin."""
        self.refuse(b"502 Bad Gateway")

    def refuse(self, status: bytes) -> None:
        """Say so, and close."""
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.transport.loseConnection()


def main(port: int) -> None:
    """Listen for ever."""
    endpoint = TCP4ServerEndpoint(reactor, port, backlog=1024, interface="127.0.0.1")
    endpoint.listen(Factory.forProtocol(Client))
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
