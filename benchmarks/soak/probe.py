"""The measuring client of the soak test: it requests two bytes repeatedly, and records the response times.

Arguments: the address and the port of a listener that shows that the program runs, the journal, the file with its mode,
which ends it, the port of the proxy, and the authority of the plain origin.

It is a separate process with its own address, so it measures the proxy and not the other clients.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from itertools import count
from pathlib import Path

from benchmarks.soak.client import PATIENCE, Closed, Wire
from benchmarks.soak.journal import OVER, Journal, Mood
from benchmarks.soak.origin import content

_SOURCE = "127.0.0.77"
_PAUSE = 0.04
_SIZE = 2
# The requests of one connection.  New connections are measured as well.
_REQUESTS = 20


def _answer(wire: Wire, id_: str) -> tuple[str, str, bool]:
    status, fields = wire.head()
    body = wire.body(fields)
    again = fields.get("connection", "").lower() != "close"
    if "proxy-status" in fields:
        return "problem", f"{status} {json.loads(body)['type'].rpartition(':')[2]}", again
    return ("complete" if body == content(id_, _SIZE) else "wrong"), str(status), again


def run(journal: Journal, mood: Mood, proxy: int, authority: str) -> None:
    """Send requests until the mode ends the program."""
    numbers = count(1)
    while mood.get() != OVER:
        wire = Wire(socket.create_connection(("127.0.0.1", proxy), PATIENCE, source_address=(_SOURCE, 0)))
        for _ in range(_REQUESTS):
            id_ = f"p{next(numbers)}"
            began = time.monotonic()
            wire.begun = False
            again = False
            try:
                target = f"http://{authority}/r/{id_}?size={_SIZE}"
                wire.send(f"GET {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("ascii"))
                outcome, detail, again = _answer(wire, id_)
            except Closed as error:
                outcome, detail = ("cut" if wire.begun else "closed"), str(error)
            except TimeoutError:
                outcome, detail = "silence", "no response"
            took = time.monotonic() - began
            journal.write(
                id=id_, kind="probe", method="GET", sent=True, outcome=outcome, detail=detail, began=began, took=took
            )
            time.sleep(_PAUSE)
            if not again:
                break
        wire.close()


def main(address: tuple[str, int], journal: Path, mood: Path, proxy: int, authority: str) -> None:
    """Run until the mode ends the program."""
    with socket.create_server(address):
        run(Journal(journal), Mood(mood), proxy, authority)


if __name__ == "__main__":
    main((sys.argv[1], int(sys.argv[2])), Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
