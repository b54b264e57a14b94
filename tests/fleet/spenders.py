"""The clients of a fleet that exhaust budgets: threads that send requests through HAProxy."""

from __future__ import annotations

import json
import random
import select
import socket
import threading
import time
from itertools import count

from benchmarks.soak.client import PATIENCE, Closed, Wire
from benchmarks.soak.client_threads import ClientThreads
from benchmarks.soak.journal import Journal
from tests.fleet.load import addresses
from tests.fleet.observations import BYTES, CLOSED, COMPLETE, CUT, PROBLEM, REQUESTS, Limit

# The sizes of what is transferred.
SIZES = (16_000, 128_000)
# The number of clients.
NUMBER = {REQUESTS: 2, BYTES: 2}

LIMITS = (
    Limit(REQUESTS, 300, 30, 50, NUMBER[REQUESTS]),
    Limit(BYTES, 10 << 20, 10, 10 << 20, NUMBER[BYTES] * SIZES[1]),
)
POLICY = f"""version = 1
[[rules]]
name = "requests"
action = "allow"
paths = ["{REQUESTS}**"]
[rules.rate]
requests = {LIMITS[0].amount}
per = "{LIMITS[0].per}s"
burst = {LIMITS[0].capacity}

[[rules]]
name = "bytes"
action = "allow"
paths = ["{BYTES}**"]
[rules.budget]
bytes = {LIMITS[1].amount}
per = "{LIMITS[1].per}s"
"""

# The first part of their addresses, which no other clients have.
_NETWORK = 160
_PAUSES = {REQUESTS: 0.05, BYTES: 0.05}
_AGAIN = 0.1
_ON_ONE_CONNECTION = 40


class Spenders(ClientThreads):
    """All clients.

    @param port: the port of HAProxy.
    @param origin: the address of the origin.
    """

    def __init__(self, port: int, origin: str, journal: Journal, seed: int) -> None:
        super().__init__(PATIENCE)
        self._port = port
        self._origin = origin
        self._journal = journal
        self._lock = threading.Lock()
        self._addresses = addresses(_NETWORK)
        for folder, clients in NUMBER.items():
            for number in range(clients):
                self.add(self._run, folder, f"{folder[1]}{number}", seed)

    def _run(self, folder: str, name: str, seed: int) -> None:
        chosen, ids = random.Random(f"{seed} {name}"), (f"{name}-{number}" for number in count(1))
        while not self.over.is_set():
            with self._lock:
                address = next(self._addresses)
            wire = Wire(socket.create_connection(("127.0.0.1", self._port), PATIENCE, (address, 0)))
            try:
                for _ in range(_ON_ONE_CONNECTION):
                    # The proxy may close a connection that waits for a request.
                    if self.over.is_set() or select.select([wire.sock], [], [], 0)[0]:
                        break
                    outcome, again = self._request(wire, address, folder, chosen, next(ids))
                    if not again:
                        break
                    time.sleep(_AGAIN if outcome == PROBLEM else chosen.uniform(0.0, _PAUSES[folder]))
            finally:
                wire.close()

    def _request(self, wire: Wire, address: str, folder: str, chosen: random.Random, id_: str) -> tuple[str, bool]:
        """Send one request.

        @return: its outcome, and whether the connection can carry another one.
        """
        size = chosen.randrange(*SIZES) if folder == BYTES else 0
        is_upload = folder == BYTES and chosen.random() < 0.3
        method, content = ("POST", bytes(size)) if is_upload else ("GET", b"")
        path = f"{folder}{0 if is_upload else size}"
        length = f"Content-Length: {len(content)}\r\n" if content else ""
        head = f"{method} http://{self._origin}{path}?id={id_} HTTP/1.1\r\nHost: {self._origin}\r\n{length}\r\n"
        wire.begun = again = False
        detail, received = "", 0
        sent = time.monotonic()
        try:
            wire.send(head.encode("ascii") + content)
            status, fields = wire.head()
            again = fields.get("connection", "").lower() != "close"
            if "proxy-status" in fields:
                problem = json.loads(wire.body(fields))["type"]
                outcome, detail = PROBLEM, f"{status} {problem.rpartition(':')[2]}"
            else:
                outcome, detail, received = self._content(wire, fields, status)
        except Closed as error:
            outcome, detail, again = (CUT if wire.begun else CLOSED), str(error), False
        except TimeoutError:
            outcome, again = "silence", False
        self._journal.write(
            id=id_, address=address, method=method, path=path, sent=sent, ended=time.monotonic(), outcome=outcome,
            content=len(content), received=received, detail=detail,
        )  # fmt: skip
        return outcome, again and (outcome == COMPLETE or not content)

    def _content(self, wire: Wire, fields: dict[str, str], status: int) -> tuple[str, str, int]:
        """Read the content of a response; return its outcome, its details, and the number of received bytes."""
        size = int(fields["content-length"])
        received = 0
        while received < size:
            piece = min(4096, size - received)
            try:
                wire.exactly(piece)
            except Closed as error:
                return CUT, str(error), received
            received += piece
        return (COMPLETE, "", received) if status == 200 else ("wrong", str(status), received)
