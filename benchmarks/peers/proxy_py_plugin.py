"""The plugin with which proxy.py decides on requests; proxy.py loads it.

proxy.py calls C{handle_client_request} for the first request of a connection, including a CONNECT, and for each later
request, also inside intercepted TLS.  Its plugins are synchronous, so the process waits for each authorization
response.
"""

from __future__ import annotations

import http.client
import json
import os
from urllib.parse import urlsplit

from proxy.http.exception import HttpRequestRejected
from proxy.http.parser import HttpParser
from proxy.http.proxy import HttpProxyBasePlugin

_INTERCEPTS = bool(os.environ.get("BENCHMARK_INTERCEPT"))


class AuthorizerError(Exception):
    """There is no decision."""


class Authorizer:
    """Sends authorization requests to the service over one keep-alive connection, one at a time."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)

    def allows(self, method: str, url: str, fields: dict[str, str]) -> bool:
        """Whether the service allows it.

        @raise AuthorizerError: if there is no decision.
        """
        body = json.dumps({"url": url, "method": method, "headers": json.dumps(fields)})
        try:
            status, answer = self._ask(body)
            allowed = json.loads(answer)["allowed"]
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            self.connection.close()
            raise AuthorizerError(str(error)) from error
        if allowed is False:
            return False
        if allowed is True and status == 200:
            return True
        raise AuthorizerError("the response has no decision")

    def _ask(self, body: str) -> tuple[int, bytes]:
        for again in (True, False):
            try:
                self.connection.request("POST", "/validate", body, {"Content-Type": "application/json"})
                response = self.connection.getresponse()
                return response.status, response.read()
            except (http.client.RemoteDisconnected, ConnectionError):
                # The service closed the idle connection.
                self.connection.close()
                if not again:
                    raise
        raise AssertionError


_url = os.environ.get("BENCHMARK_AUTHZ_URL")
_authorizer = Authorizer(_url) if _url else None


class DecidePlugin(HttpProxyBasePlugin):
    """Decides on every request, before a connection to an origin."""

    tunnel = b""
    is_first = True

    def before_upstream_connection(self, request: HttpParser) -> HttpParser | None:
        """Decide on the first request, before the connection to the origin."""
        self._decide(request)
        return request

    def handle_client_request(self, request: HttpParser) -> HttpParser | None:
        """Decide on the first request again, and on each later request."""
        if self.is_first:
            self.is_first = False
        else:
            self._decide(request)
        return request

    def _decide(self, request: HttpParser) -> None:
        path = request.path or b"/"
        if request.is_https_tunnel:
            self.tunnel = b"%s:%d" % (request.host or b"", request.port or 443)
            if _INTERCEPTS:
                return  # each request inside the tunnel gets a decision
            path = self.tunnel
        if _authorizer is None:
            allowed = b"/denied/" not in path.partition(b"?")[0]
        else:
            try:
                allowed = _authorizer.allows(
                    (request.method or b"").decode(), self._url(request, path), fields(request)
                )
            except AuthorizerError as error:
                raise HttpRequestRejected(503, b"Service Unavailable", body=b"no decision\n") from error
        if not allowed:
            raise HttpRequestRejected(403, b"Forbidden", body=b"denied\n")

    def _url(self, request: HttpParser, path: bytes) -> str:
        if request.is_https_tunnel:
            return path.decode()
        if self.tunnel:
            return (b"https://" + self.tunnel + path).decode("latin-1")
        host = (request.host or b"") if not request.port else b"%s:%d" % (request.host or b"", request.port)
        return (b"http://" + host + path).decode("latin-1")


def fields(request: HttpParser) -> dict[str, str]:
    """Return the fields of a request for the service."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, (_, value) in (request.headers or {}).items()}
