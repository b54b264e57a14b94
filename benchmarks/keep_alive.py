"""The client of L{benchmarks.contestants}."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

HOST = "localhost"

CONNECTIONS = 16
_TIMEOUT = 60.0


class Unproven(Exception):
    """A case did not do its work, so its cost is not meaningful."""


class Client:
    """A number of keep-alive connections, each with one request in progress at a time.

    @param tunnel_to: a port of the origin; each connection is then TLS in a tunnel to it.
    @param ca: the CA of the proxy, for these tunnels.
    """

    def __init__(
        self, port: int, connections: int = CONNECTIONS, tunnel_to: int | None = None, ca: Path | None = None
    ) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port), _TIMEOUT) for _ in range(connections)]
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tunnel_to is not None:
            context = ssl.create_default_context(cafile=ca)
            self._sockets = [_tunnel(one, context, tunnel_to) for one in self._sockets]

    def ask(self, request: bytes, answer: bytes, times: int) -> int:
        """Send a request at least this number of times.

        @param answer: the beginning of the content of each response.
        @return: the number of requests.
        @raise Unproven: for another response.
        """
        done = 0
        while done < times:
            done += self.ask_each([request] * len(self._sockets), answer)
        return done

    def ask_each(self, requests: Sequence[bytes], answer: bytes) -> int:
        """Send one request on each connection.

        @param requests: the requests, one for each connection.
        @param answer: the beginning of the content of each response.
        @return: the number of requests.
        @raise Unproven: for another response.
        """
        for one, request in zip(self._sockets, requests, strict=True):
            one.sendall(request)
        for one in self._sockets:
            status, content = receive(one.recv)
            if status != 200 or not content.startswith(answer):
                raise Unproven(f"the response is {status}: {content[:200]!r}")
        return len(self._sockets)

    def status(self, request: bytes) -> int:
        """Send one request, and return the status of the response."""
        self._sockets[0].sendall(request)
        return receive(self._sockets[0].recv)[0]

    def close(self) -> None:
        """Close the connections."""
        for one in self._sockets:
            one.close()


def _tunnel(connection: socket.socket, context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    connection.sendall(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode("ascii"))
    status, content = receive(connection.recv)
    if status != 200:
        raise Unproven(f"the response to CONNECT is {status}: {content[:200]!r}")
    return context.wrap_socket(connection, server_hostname=HOST)


def receive(recv: Callable[[int], bytes]) -> tuple[int, bytes]:
    """Read one response with a length, and return its status and its content."""
    data = b""
    end, length = -1, 0
    while end < 0 or len(data) < end + length:
        more = recv(65536)
        if not more:
            raise Unproven(f"the connection ends after {data[-200:]!r}")
        data += more
        if end < 0 and (at := data.find(b"\r\n\r\n")) >= 0:
            end = at + 4
            for line in data[:at].split(b"\r\n")[1:]:
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
    return int(data[9:12]), data[end:]
