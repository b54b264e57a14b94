"""An ASGI application for C{hypercorn}: uploads, responses with trailers, and responses before the end of a request."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Respond to one request."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    status, digest, size = 200, hashlib.sha256(), 0
    if scope["path"] == "/early":
        status = 413
    else:
        more = True
        while more:
            message = await receive()
            digest.update(message.get("body", b""))
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
    headers = [(b"x-version", scope["http_version"].encode()), (b"x-cookie", _cookie(scope))]
    await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": True})
    await send({"type": "http.response.body", "body": b"%d %s" % (size, digest.hexdigest().encode())})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"done")]})


def _cookie(scope: dict[str, Any]) -> bytes:
    return b"|".join(value for name, value in scope["headers"] if name == b"cookie")
