"""A server of policies, which a test controls."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.certificates import TestCA


class PolicyServer:
    """Serves one policy over TLS, with an entity tag.

    @param directory: the directory for its certificate.
    @param token: the bearer token that it requires; empty: none.
    @ivar content: the policy.
    @ivar etag: its entity tag.
    @ivar status: the status of each response; 304 if the client has the policy.
    @ivar statuses: the statuses of the responses.
    """

    def __init__(self, directory: Path, content: bytes, token: str = "") -> None:
        self.content = content
        self.etag = '"1"'
        self.status = 200
        self.statuses: list[int] = []
        ca = TestCA("policy CA")
        self.ca = ca.write(directory, "policy-ca")
        certificate, key = ca.issue("127.0.0.1").write(directory, "policy-server")
        outer = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, content, etag = outer.status, outer.content, outer.etag
                if token and self.headers["Authorization"] != f"Bearer {token}":
                    status = 401
                elif status == 200 and self.headers["If-None-Match"] == etag:
                    status = 304
                outer.statuses.append(status)
                self.send_response(status)
                if status in (200, 304):
                    self.send_header("ETag", etag)
                if status == 302:
                    self.send_header("Location", "/other.toml")
                if status != 304:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if status != 304:
                    self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Do nothing: a proxy that stops closes its connection."""

        self._server = Server(("127.0.0.1", 0), Requests)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._server.server_address[1])
        self.url = f"https://127.0.0.1:{self.port}/policy.toml"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; later connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
