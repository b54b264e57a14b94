"""The measurement: real replicas, which receive the requests of the simulation at the same times."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import TREE, Bench, Case, Contestant, Service, authorization_service, metrics_in
from benchmarks.keep_alive import HOST, Client, Unproven
from benchmarks.origins import read_url
from benchmarks.scaling.engine import Work, work
from benchmarks.scaling.model import Load
from benchmarks.scaling.simulation import Arrival, Counts

# Requests in progress for one replica.
_CONNECTIONS = 8
# A client that is late by this many seconds measures itself.
_MAX_DELAY = 0.2

_JOINED = 'egress_authorizer_cache_lookups_total{result="shared"}'
_HITS = 'egress_authorizer_cache_lookups_total{result="hit"}'
_SHARED = 'egress_shared_cache_lookups_total{result="hit"}'
_WAITS = "egress_shared_waits_total"


@dataclass(frozen=True)
class Measured:
    """The result of one replay.

    @ivar counts: what happened to the requests.
    @ivar engine: the work of the engine.
    @ivar delay: the largest delay of a request in the client, in seconds.
    """

    counts: Counts
    engine: Work
    delay: float


class _Replica:
    """Sends the requests of one replica at their times."""

    def __init__(self, contestant: Contestant) -> None:
        self.delay = 0.0
        self._contestant = contestant
        self._requests: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._send) for _ in range(_CONNECTIONS)]
        self._faults: list[Exception] = []
        for thread in self._threads:
            thread.start()

    def put(self, due: float, key: int) -> None:
        """Send a request."""
        self._requests.put((due, key))

    def finish(self) -> None:
        """Wait for all responses.

        @raise Unproven: if a response is not the expected one.
        """
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join()
        for fault in self._faults:
            raise fault

    def _send(self) -> None:
        client = Client(self._contestant.port, 1)
        port = self._contestant.origin
        try:
            while (item := self._requests.get()) is not None:
                due, key = item
                self.delay = max(self.delay, time.monotonic() - due)
                url = f"http://{HOST}:{port}/token/7?x={key}"
                head = f"GET {url} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: */*\r\nUser-Agent: benchmark\r\n\r\n"
                client.ask_each([head.encode("ascii")], b"<>")
        except (OSError, Unproven) as error:
            self._faults.append(error)
        finally:
            client.close()

    def counted(self) -> dict[str, float]:
        """Return the metrics of the replica."""
        return metrics_in(read_url(f"http://127.0.0.1:{self._contestant.metrics}/metrics"))


@contextmanager
def _fleet(bench: Bench, options: Sequence[str], service: Service, replicas: int) -> Iterator[list[_Replica]]:
    with ExitStack() as stack:
        case = Case("", None, options=("--authz-url", f"http://127.0.0.1:{service.port}", *options))
        yield [_Replica(stack.enter_context(bench.contestant(case, "", TREE))) for _ in range(replicas)]


def replay(
    bench: Bench, load: Load, requests: Sequence[Arrival], replicas: int, shared: tuple[str, str] | None
) -> Measured:
    """Send requests to new replicas at their times.

    @param shared: the socket of the engine, and the file with the key of the replicas; C{None}: without shared state.
    @raise Unproven: if a response is not the expected one, or the client was late.
    """
    options: tuple[str, ...] = ()
    engine: Path | None = None
    if shared is not None:
        engine = Path(shared[0])
        options = ("--shared", f"unix:{engine}", "--shared-key-file", shared[1])
    more = f'"ttl": {load.ttl}, "cacheKey": ["path", "query"]'
    with (
        authorization_service(bench.programs, more, round(1000 * load.call)) as service,
        _fleet(bench, options, service, replicas) as fleet,
    ):
        # A process uses no earlier decision until it knows all revocations.
        time.sleep(2.0)
        before = None if engine is None else work(engine)
        start = time.monotonic() + 0.1
        for each in requests:
            due = start + each.time
            time.sleep(max(0.0, due - time.monotonic()))
            fleet[each.process].put(due, each.key)
        for replica in fleet:
            replica.finish()
        done = Work(0, 0.0) if engine is None or before is None else work(engine) - before
        delay = max(replica.delay for replica in fleet)
        if delay > _MAX_DELAY:
            raise Unproven(f"the client was late by {delay:.3f} s")
        found = [replica.counted() for replica in fleet]

        def total(name: str) -> int:
            return round(sum(each.get(name, 0.0) for each in found))

        counts = Counts(total(_HITS), total(_JOINED), total(_SHARED), total(_WAITS), service.count())
        if counts.requests != len(requests):
            raise Unproven(f"{len(requests)} requests, but {counts} in the metrics")
        return Measured(counts, done, delay)
