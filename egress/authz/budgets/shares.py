"""Who counts budgets: the engine for all replicas, or each process for itself, with its share of each budget."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.authz.budgets.script import MEMBERS
from egress.shared.client import SharedClient
from egress.shared.keys import SharedKeys
from egress.shared.redis_protocol import UNUSABLE
from egress.shared.script import Argument, Script

_log = Logger()

TICK: Final = 1.0
"""Seconds between two sweeps of the ledger."""

SETTLED_AFTER: Final = 1.5
"""Seconds after a new connection until the engine counts: the other processes connect and tell what they used."""

MEMBER_SECONDS: Final = 15
"""Seconds after which a process that does not respond is no longer counted."""


class Shares:
    """Tells whether the engine counts, and how many processes share a budget while it does not.

    @param client: the client of the engine; C{None}: there is none.
    @param keys: the keys for names in the engine; C{None}: there is none.
    @param processes: the number of processes without an engine.
    @param is_used: returns whether there are budgets.
    @ivar on_tick: is called every second while there is an engine.
    @ivar on_doubt: is called when the engine may have lost its data.
    @ivar connection: the number of the connection to the engine.
    """

    def __init__(
        self,
        clock: IReactorTime,
        client: SharedClient | None,
        keys: SharedKeys | None,
        *,
        processes: int,
        is_used: Callable[[], bool],
    ) -> None:
        self.keys = keys
        self.on_tick: Callable[[], object] = lambda: None
        self.on_doubt: Callable[[], object] = lambda: None
        self.connection = 0
        self._clock = clock
        self._client = client
        self._is_used = is_used
        self._timer: IDelayedCall | None = None
        self._member = os.urandom(12).hex()
        self._members = 0 if client is not None else processes
        # Until when processes may not have registered again, and when this one did.
        self._growing_until = 0.0
        self._registered_at: float | None = None
        # When the engine counts after a new connection.
        self._settled_at = 0.0
        self._name = b"" if keys is None else keys.name(keys.group(b"members"), b"members")
        # Why the last command failed.
        self._fault: str | None = None
        self._reported = False

    @property
    def is_connected(self) -> bool:
        """Whether the engine can be used."""
        return self._client is not None and self._client.is_ready

    @property
    def counts_together(self) -> bool:
        """Whether the engine counts: it can be used, and the other processes have told it what they used."""
        return self.is_connected and not self._is_settling

    @property
    def _is_settling(self) -> bool:
        """Whether there is a new connection, and some of the other processes may have none yet."""
        return self.is_connected and self._clock.seconds() < self._settled_at

    @property
    def members(self) -> int:
        """The number of processes; 0: it is not known yet."""
        return self._members

    @property
    def weight(self) -> int:
        """The number of processes that share a budget, as far as known."""
        return max(1, self._members)

    def refusal(self, denies: bool) -> str | None:
        """Return why a budget cannot be counted without the engine; C{None}: it can.

        @param denies: whether the policy permits no share of it.
        """
        if denies and (self._fault is not None or not self._is_settling):
            return "the shared state cannot be used"
        return None if self._members else "the shared state was not reached yet, so the number of replicas is unknown"

    def run(self, script: Script, names: Sequence[bytes], *arguments: Argument) -> Deferred[Any]:
        """Run a script in the engine."""
        assert self._client is not None
        return self._client.run(script, names, *arguments).addCallbacks(self._worked, self._failed)

    def _worked(self, reply: Any) -> Any:
        self._fault = None
        if self._reported:
            self._reported = False
            _log.info("budgets are counted in the shared state again")
        return reply

    def _failed(self, failure: Failure) -> Failure:
        self._fault = failure.getErrorMessage()
        self.report()
        return failure

    def start(self) -> None:
        """Count the processes from now on, if there is an engine."""
        if self._client is not None:
            self._timer = self._clock.callLater(TICK, self._tick)

    def stop(self) -> None:
        """Stop counting."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def check(self) -> Deferred[str | None]:
        """Return a note for the readiness check, while the engine does not count."""
        is_fine = self._fault is None and self.counts_together
        return succeed(None if is_fine or not self._is_used() else self._note())

    def _note(self) -> str:
        why = "" if self._fault is None else f": {self._fault}"
        if not self._members:
            return f"requests with a budget are denied until the shared state is reached{why}"
        until = (
            "the other processes have reached the shared state" if self._is_settling else "the shared state can be used"
        )
        return f"this process uses 1/{self._members} of each budget until {until}{why}"

    def _tick(self) -> None:
        self._timer = self._clock.callLater(TICK, self._tick)
        if not self._is_used():
            return
        if not self.is_connected:
            self.report()
            return
        self.on_tick()
        counting = self.run(MEMBERS, [self._name], self._member, MEMBER_SECONDS * 1_000_000)
        counting.addCallbacks(self._counted, self._not_counted)

    def connected(self) -> None:
        """Note a new connection to the engine, which may have lost its data, or be another one."""
        self.connection += 1
        self._fault = None
        if self._members > 1:
            self._settled_at = self._clock.seconds() + SETTLED_AFTER
        self._doubt()

    def _doubt(self) -> None:
        self._growing_until = self._clock.seconds() + MEMBER_SECONDS
        self.on_doubt()

    def _counted(self, reply: list[int]) -> None:
        members, is_new = reply
        now = self._clock.seconds()
        registered_at, self._registered_at = self._registered_at, now
        if is_new and registered_at is not None and now - registered_at < MEMBER_SECONDS - TICK:
            # It was registered, and nothing but a loss removes it so soon.
            self._doubt()
        self._members = max(1, members, self._members if now < self._growing_until else 0)

    def _not_counted(self, failure: Failure) -> None:
        failure.trap(*UNUSABLE)  # type: ignore[no-untyped-call]

    def report(self) -> None:
        """Log once that the engine cannot be used."""
        if not self._reported and not (self._is_settling and self._fault is None):
            self._reported = True
            _log.warn("budgets: {note}", note=self._note())
