"""The approver of a fleet: a thread that allows each pending request, on a random replica that lists it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Sequence

from benchmarks.soak.journal import Journal
from egress.cli.errors import CommandFailed
from tests.fleet.replica import Replica

_INTERVAL = 0.2


class Approver:
    """An approver.

    @ivar defects: errors of the approver itself.
    """

    def __init__(self, replicas: Sequence[Replica], journal: Journal, seed: int) -> None:
        self._replicas = replicas
        self._journal = journal
        self._chosen = random.Random(seed)
        self._over = threading.Event()
        self.defects: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.wait(_INTERVAL):
                for replica in self._chosen.sample(self._replicas, len(self._replicas)):
                    self._allow_all(replica)
        except Exception as error:  # an error of the approver must not look like success
            self.defects.append(f"the approver failed: {error!r}")
            raise

    def _allow_all(self, replica: Replica) -> None:
        try:
            pending = replica.pending()
        except CommandFailed:
            return  # the replica was killed
        for id_, name in pending.items():
            at, is_confirmed = time.monotonic(), False
            with contextlib.suppress(CommandFailed):
                # The replica can be killed, or another one can have resolved the request.
                replica.allow(name)
                is_confirmed = True
            self._journal.write(id=id_, replica=replica.name, began=at, confirmed=is_confirmed)
