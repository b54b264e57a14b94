"""A client of the sites of a proxy."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransportWithDisconnection


class Browser:
    """A client of a site, in memory."""

    def __init__(self, site: Any) -> None:
        self.transport = StringTransportWithDisconnection()
        self.channel: Any = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 40000))
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)

    def ask(self, path: str, method: str = "GET", extra: str = "") -> None:
        self.channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode())

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return the response so far: status, fields and body."""
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        self.transport.clear()
        first, *lines = head.decode("ascii").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        return int(first.split(" ")[1]), fields, body
