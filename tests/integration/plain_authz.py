"""An authorization service that allows everything, as a program: it can be stopped, killed and started anew.

Arguments: the port, and how many seconds it takes for an answer.
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ANSWER = b'{"allowed": true}'


class Handler(BaseHTTPRequestHandler):
    """Allows, over connections that are kept."""

    protocol_version = "HTTP/1.1"
    seconds = 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.seconds)
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Takes every connection at once."""

    request_queue_size = 512


if __name__ == "__main__":
    Handler.seconds = float(sys.argv[2])
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
