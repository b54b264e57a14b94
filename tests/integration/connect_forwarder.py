"""A port that forwards each connection into a tunnel of a proxy, for programs that do not use proxies."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class ConnectForwarder:
    """Forwards connections to a local port through C{CONNECT}.

    @param proxy: the port of the proxy.
    @param authority: the authority of each tunnel.
    @ivar port: the local port.
    """

    def __init__(self, proxy: int, authority: str) -> None:
        self._proxy = proxy
        self._authority = authority
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no further connections."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                proxy = socket.create_connection(("127.0.0.1", self._proxy))
                proxy.sendall(f"CONNECT {self._authority} HTTP/1.1\r\nHost: {self._authority}\r\n\r\n".encode())
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += proxy.recv(1)
                for ends in ((client, proxy), (proxy, client)):
                    threading.Thread(target=_copy, args=ends, daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
