"""The authorization service of the soak test: a program that decides by the path, and records each request.

It also injects faults.

Arguments: the port, the journal, the file with its mode.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

from benchmarks.soak.journal import Journal, Mood, id_in

# The faults of the service, in addition to killing and stopping it.
MOODS = ("slow", "error", "garbage", "cut", "silent")

_SLOW = 3.0
_SILENCE = 4.0


def _answer(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    announced = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {announced}\r\n\r\n".encode("ascii") + body


class Service:
    """Responds to authorization requests."""

    def __init__(self, journal: Journal, mood: Mood) -> None:
        self._journal = journal
        self._mood = mood

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to all requests of a connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                question = json.loads(await reader.readexactly(length))
                if not await self._decide(question, writer):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # the proxy has disconnected
        finally:
            writer.close()

    async def _decide(self, question: dict[str, object], writer: asyncio.StreamWriter) -> bool:
        url, client = str(question["url"]), question["client"]
        assert isinstance(client, dict)
        id_ = client.get("identity") if question["stage"] == "tunnel" else id_in(url)
        allowed = "/denied/" not in url
        mood = self._mood.get()
        if mood == "slow":
            await asyncio.sleep(random.uniform(0.0, _SLOW))
        elif mood == "silent":
            await asyncio.sleep(_SILENCE)
        decides = mood in ("", "slow")
        verdict = ("allow" if allowed else "deny") if decides else "none"
        # Before the response: the proxy may forward nothing before this moment.
        self._journal.write(request=question["requestId"], id=id_, verdict=verdict)
        good = json.dumps({"allowed": allowed}).encode("ascii")
        bad = {
            "error": _answer(b'{"allowed": true}', "500 Internal Server Error"),
            "garbage": _answer(b'{"allowed": "true", "allowed": yes}'),
            "cut": _answer(b'{"allowed": true}', length=100),
            "silent": b"",
        }
        writer.write(_answer(good) if decides else bad[mood])
        await writer.drain()
        return mood not in ("cut", "silent")


async def main(port: int, journal: Path, mood: Path) -> None:
    """Serve until killed."""
    service = Service(Journal(journal), Mood(mood))
    server = await asyncio.start_server(service.serve, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
