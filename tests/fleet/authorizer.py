"""The authorization service of a fleet: a program that decides by the path, and records each request.

Arguments: the port, the journal, and the time to live of decisions on C{KEPT} paths in seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.soak.journal import Journal
from tests.fleet.observations import ASKED, DENIED, KEPT, id_in, path_of


def decision(path: str, ttl: float) -> dict[str, Any]:
    """Return the decision on a path."""
    kept = {"ttl": ttl, "cacheKey": ["method", "path"]} if path.startswith(KEPT) else {}
    if path.startswith(ASKED):
        kept = {"ask": True}
    return {"allowed": not path.startswith((DENIED, ASKED)), "ruleId": path.split("/")[1] or "tunnels", **kept}


class Service:
    """Responds to authorization requests."""

    def __init__(self, journal: Journal, ttl: float) -> None:
        self._journal = journal
        self._ttl = ttl

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to all requests of a connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                self._respond(json.loads(await reader.readexactly(length)), writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the proxy has disconnected
        finally:
            writer.close()

    def _respond(self, question: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        is_tunnel = question["stage"] == "tunnel"
        path = "/" if is_tunnel else path_of(question["url"])
        found = decision(path, self._ttl)
        # Before the response: the proxy may forward nothing before this moment.
        self._journal.write(
            request=question["requestId"],
            id=question["client"]["address"] if is_tunnel else id_in(question["url"]),
            method=question["method"],
            path=path,
            allowed=found["allowed"],
        )
        content = json.dumps(found).encode("ascii")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))


async def main(port: int, journal: Path, ttl: float) -> None:
    """Serve until killed."""
    service = Service(Journal(journal), ttl)
    server = await asyncio.start_server(service.serve, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])))
