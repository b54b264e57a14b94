"""An authorization service that denies one word, and records the authorization requests."""

from __future__ import annotations

import base64
import functools
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from egress.authz.protocols.validate_server import decode_request
from tests.scorecard.judge import Question
from tests.scorecard.surroundings import allows


class Questions:
    """The service, with its own threads."""

    def __init__(self) -> None:
        found = self._found = []  # type: ignore[var-annotated]

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                question = json.loads(data)
                read = functools.partial(decode_request, data, "scorecard") if "requestId" in question else None
                allowed = allows(question["url"], read)
                found.append(_question(question, allowed))
                answer = json.dumps({"allowed": allowed, "reason": "a word"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                # A proxy that gives up a request closes the connection of its authorization request.
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)  # type: ignore[arg-type]

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def asked(self) -> list[Question]:
        """Return all authorization requests so far."""
        return list(self._found)

    def stop(self) -> None:
        """Stop the service."""
        self._server.shutdown()
        self._server.server_close()


def _question(members: dict[str, Any], allowed: bool) -> Question:
    # Proxies that send the content also send the request id and the client; the other proxies send none of them.
    content: bytes | None = None
    if "requestId" in members:
        body = members.get("body", "")
        content = base64.b64decode(body) if members.get("bodyEncoding") == "base64" else body.encode()
    client = members.get("client", {}).get("address")
    return Question(members["method"], members["url"], content, allowed, client)
