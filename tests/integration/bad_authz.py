"""An authorization service that misbehaves: in each case it returns no valid decision."""

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
    # Close the socket here: socketserver would first shut it down in order.
    client.close()


def _drip(client: socket.socket) -> None:
    # Each read completes well within any timeout of a single read.
    for byte in _answer(b'{"allowed": true}'):
        client.sendall(bytes([byte]))
        time.sleep(0.1)


def _silence(client: socket.socket) -> None:
    time.sleep(30)


ALLOWED = b'{"allowed": true}'
Behaviour = Callable[[socket.socket], None]

GOOD: Behaviour = _send(_answer(ALLOWED))

_CUT = "closed the connection before its response was complete"

# Each case with the reason in the client's response, so that cases cannot be confused.
CASES: dict[str, tuple[Behaviour, str]] = {
    "timeout": (_silence, "did not respond within 1 s"),
    "reset mid-answer": (_reset, "failed: "),
    "dripping past the deadline": (_drip, "did not respond within 1 s"),
    "500": (_send(_answer(b"oops", "500 Internal Server Error")), "status 500"),
    "500 that allows": (_send(_answer(ALLOWED, "500 Internal Server Error")), "status 500"),
    "302": (_send(_answer(b"", "302 Found", "Location: /elsewhere")), "status 302"),
    "201 that allows": (_send(_answer(ALLOWED, "201 Created")), "status 201"),
    "403 that allows": (_send(_answer(ALLOWED, "403 Forbidden")), "status 403"),
    "true as text": (_send(_answer(b'{"allowed": "true"}')), "not a boolean"),
    "true as a number": (_send(_answer(b'{"allowed": 1}')), "not a boolean"),
    "null": (_send(_answer(b'{"allowed": null}')), "not a boolean"),
    "no JSON": (_send(_answer(b"allowed")), "not JSON"),
    "nothing": (_send(_answer(b"")), "not JSON"),
    "two values": (_send(_answer(ALLOWED + ALLOWED)), "not JSON"),
    "no allowed": (_send(_answer(b'{"denied": false}')), "'allowed' is missing"),
    "a list": (_send(_answer(b"[" + ALLOWED + b"]")), "not a JSON object"),
    "a key is repeated": (_send(_answer(b'{"allowed": false, "allowed": true}')), "a key is repeated"),
    "cut short": (_send(_answer(ALLOWED, length=50)), _CUT),
    "cut short in chunks": (
        _send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n" + ALLOWED + b"\r\n"),
        _CUT,
    ),
    "closed at once": (lambda _: None, _CUT),
    "10 MB": (_send(_answer(b'{"allowed": true, "padding": "' + b"x" * 10_000_000 + b'"}')), "over 65536 bytes"),
    "no HTTP": (_send(b"SSH-2.0-OpenSSH_9.0\r\n"), "failed: "),
}


class BadAuthorizationService:
    """A server that treats every authorization request in one way.

    @ivar behaviour: the behaviour; L{GOOD}, or one of L{CASES}.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                try:
                    received = b""
                    while b"\r\n\r\n" not in received:
                        received += self.request.recv(65536)
                    behaviour(self.request)
                except OSError:
                    pass  # the proxy closed the connection

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
