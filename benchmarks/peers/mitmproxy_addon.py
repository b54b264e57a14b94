"""The addon with which mitmproxy decides on requests; mitmproxy loads it.

It decides after the head of a request, because mitmproxy streams the body afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import urlsplit

from mitmproxy import http

_HEAD_END = b"\r\n\r\n"


class AuthorizerError(Exception):
    """There is no decision."""


class _Call(asyncio.Protocol):
    """A connection to the service, with one authorization request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def ask(self, question: bytes) -> asyncio.Future[tuple[int, bytes]]:
        assert self.transport is not None
        self.received = b""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(question)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(_HEAD_END)
        if not end or self.answer is None:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(body) >= length and not self.answer.done():
            self.answer.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(AuthorizerError("the connection broke"))


class Authorizer:
    """Sends authorization requests to the service over keep-alive connections."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.head = f"POST /validate HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        self.idle: list[_Call] = []

    async def allows(self, request: http.Request) -> bool:
        """Whether the service allows it.

        @raise AuthorizerError: if there is no decision.
        """
        fields = {name.lower(): value for name, value in request.headers.items()}
        content = {"url": request.pretty_url, "method": request.method, "headers": json.dumps(fields)}
        body = json.dumps(content).encode()
        status, answer = await self._ask(f"{self.head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        try:
            allowed = json.loads(answer)["allowed"]
        except (ValueError, KeyError, TypeError) as error:
            raise AuthorizerError("the response is malformed") from error
        if allowed is False:
            return False
        if allowed is True and status == 200:
            return True
        raise AuthorizerError("the response has no decision")

    async def _ask(self, question: bytes) -> tuple[int, bytes]:
        while self.idle:
            call = self.idle.pop()
            if call.transport is not None:
                break
        else:
            loop = asyncio.get_running_loop()
            try:
                _, call = await loop.create_connection(_Call, self.host, self.port)
            except OSError as error:
                raise AuthorizerError("the service is unreachable") from error
        try:
            found = await asyncio.wait_for(call.ask(question), 5)
        except TimeoutError as error:
            if call.transport is not None:
                call.transport.abort()
            raise AuthorizerError("the service does not respond") from error
        self.idle.append(call)
        return found


class ByAuthorizer:
    """The service decides on every request."""

    def __init__(self, url: str) -> None:
        self.authorizer = Authorizer(url)

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Deny the request on an exception, because mitmproxy would forward it."""
        try:
            allowed = await self.authorizer.allows(flow.request)
        except Exception:  # noqa: BLE001
            _refuse(flow, 503, b"no decision\n")
        else:
            if not allowed:
                _refuse(flow, 403, b"denied\n")


class ByRule:
    """Everything is allowed except paths with C{/denied/}."""

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Check the path."""
        if "/denied/" in flow.request.path:
            _refuse(flow, 403, b"denied\n")


def _refuse(flow: http.HTTPFlow, status: int, text: bytes) -> None:
    flow.request.stream = False  # mitmproxy cannot respond to a streamed request
    flow.response = http.Response.make(status, text, {"Content-Type": "text/plain"})


_url = os.environ.get("BENCHMARK_AUTHZ_URL")
addons = [ByAuthorizer(_url) if _url else ByRule()]
