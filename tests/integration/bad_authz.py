"""An authorization service that misbehaves: each case is a way in which there is no decision."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable


def _answer(body: bytes, status: str = "200 OK", *fields: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *fields]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def _send(data: bytes) -> Callable[[socket.socket], None]:
    return lambda client: client.sendall(data)


def _reset(client: socket.socket) -> None:
    client.sendall(_answer(b'{"allo', length=17))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _drip(client: socket.socket) -> None:
    # Each read comes well within any time-out of its own.
    for byte in _answer(b'{"allowed": true}'):
        client.sendall(bytes([byte]))
        time.sleep(0.1)


def _silence(client: socket.socket) -> None:
    time.sleep(30)


CASES: dict[str, Callable[[socket.socket], None]] = {
    "timeout": _silence,
    "reset mid-answer": _reset,
    "dripping past the deadline": _drip,
    "500": _send(_answer(b"oops", "500 Internal Server Error")),
    "500 that allows": _send(_answer(b'{"allowed": true}', "500 Internal Server Error")),
    "302": _send(_answer(b"", "302 Found", "Location: /elsewhere")),
    "403 that allows": _send(_answer(b'{"allowed": true}', "403 Forbidden")),
    "true as text": _send(_answer(b'{"allowed": "true"}')),
    "true as a number": _send(_answer(b'{"allowed": 1}')),
    "no JSON": _send(_answer(b"allowed")),
    "nothing": _send(_answer(b"")),
    "no allowed": _send(_answer(b'{"denied": false}')),
    "a list": _send(_answer(b'[{"allowed": true}]')),
    "a key twice": _send(_answer(b'{"allowed": false, "allowed": true}')),
    "cut short": _send(_answer(b'{"allowed": true}', length=50)),
    "cut short in chunks": _send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{"allowed": true}\r\n'),
    "10 MB": _send(_answer(b'{"allowed": true, "padding": "' + b"x" * 10_000_000 + b'"}')),
    "no HTTP": _send(b"SSH-2.0-OpenSSH_9.0\r\n"),
}


class BadAuthorizationService:
    """Answers every question in one bad way.

    @ivar behaviour: how; one of L{CASES}.
    """

    def __init__(self, behaviour: Callable[[socket.socket], None]) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    received = b""
                    while b"\r\n\r\n" not in received:
                        received += self.request.recv(65536)
                    behaviour(self.request)
                except OSError:
                    pass  # the proxy has had enough

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
