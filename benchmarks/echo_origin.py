"""An origin with HTTP/1.1 over TLS that sends content back while it arrives: C{python -m benchmarks.echo_origin}.

Its arguments are a port, and the files with its certificate and its key.  The content of requests for C{/slow} is read
slowly, 1 KiB in a second.
"""

from __future__ import annotations

import re
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from typing import Final

_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
KIB: Final = 1024
_READ: Final = 256 * KIB


def _serve(stream: ssl.SSLSocket) -> None:
    with suppress(OSError), stream:
        stream.do_handshake()
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = stream.recv(_READ)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            found = _LENGTH.search(head + b"\r\n")
            left = 0 if found is None else int(found[1])
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
            slow = head.startswith(b"POST /slow ")
            while left:
                data = data or stream.recv(KIB if slow else _READ)
                if not data:
                    return
                if slow:
                    time.sleep(len(data) / KIB)
                stream.sendall(data[:left])
                data, left = data[left:], left - min(left, len(data))


def main(port: str, certificate: str, key: str) -> None:
    """Serve until the process is stopped."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", int(port)), backlog=256) as listening:
        while True:
            stream = context.wrap_socket(listening.accept()[0], server_side=True, do_handshake_on_connect=False)
            threading.Thread(target=_serve, args=(stream,), daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
