"""The grants of approvers in an audit store, from which they apply again after a restart of all replicas.

All work on the store is in a thread, with short transactions.  Grants and revocations wait in bounded queues until they
are stored.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.authz.grant_register import GrantKey, GrantRegister, key_of
from egress.authz.stored_revocations import in_force, register
from egress.model.approval import Grant
from egress.model.revocation import Revocation, RevocationKind
from egress.runtime.threads import Offload
from egress.store.grant_rows import GRANT, GrantRevocation, GrantsRead

_log = Logger()

STORED_WITHIN: Final = 1.5
"""Seconds in which the store must confirm a revocation."""

MAX_WAITING: Final = 1000
"""The maximum number of grants, and of revocations, that wait to be written."""

STORE_NAME: Final = "the audit store"
"""The name of the store in lists of nodes that did not confirm a revocation."""

_BATCH: Final = 200
_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 5.0
# The time in which several requests to read the store become one.
_READ_AFTER: Final = 0.1
# Other processes write what they hear from each other later, and not at the same time.
_SPREAD: Final = 4.0
# Other replicas can need some time until they have stored their revocations.
_PATIENCE: Final = 3
_ID_BYTES: Final = 8


class Store(Protocol):
    """The store; its methods block."""

    def write(self, grants: Sequence[Grant], revocations: Sequence[GrantRevocation], now: float) -> set[str]:
        """Store grants and revocations; see L{egress.store.grant_store.GrantStore.write}."""

    def read(self, now: float) -> GrantsRead:
        """Return the grants and revocations; see L{egress.store.grant_store.GrantStore.read}."""


class StoredGrants:
    """Writes the grants and the revocations of a process to a store, and reads the grants of earlier processes.

    @param clock: the reactor.
    @param wall_clock: returns seconds since the epoch.
    @param store: the store.
    @param in_thread: runs a call in a thread, one after the other.
    @ivar ready: is called before each reading; returns why it must wait, or C{None}.
    @ivar use: is called with the grants that are in force, as far as the store and this process know.
    """

    def __init__(self, clock: IReactorTime, wall_clock: Callable[[], float], store: Store, in_thread: Offload) -> None:
        self.ready: Callable[[], Deferred[str | None]] = lambda: succeed(None)
        self.use: Callable[[list[Grant]], object] = lambda grants: None
        self._clock = clock
        self._wall_clock = wall_clock
        self._store = store
        self._in_thread = in_thread
        # The revocations that this process knows.
        self._known = GrantRegister(shares=True)
        self._grants: OrderedDict[GrantKey, Grant] = OrderedDict()
        self._revocations: OrderedDict[str, GrantRevocation] = OrderedDict()
        # The last ones that were written or read, so that they are not written again.
        self._stored: OrderedDict[GrantKey | str, None] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._waiters: list[Deferred[bool]] = []
        self._writing = self._reading = self._read_again = self._closed = False
        self._write_timer: IDelayedCall | None = None
        self._read_timer: IDelayedCall | None = None
        self._write_failures = self._read_failures = 0
        # Why the last attempt to write, and to read, failed.
        self._not_stored = self._not_used = ""

    @property
    def is_stored(self) -> bool:
        """Whether all revocations that this process knows are stored."""
        return not self._revocations

    @property
    def note(self) -> str | None:
        """Why the store lacks grants or revocations, or why its grants are not used; C{None}: everything is fine."""
        notes = []
        if self._not_stored:
            number = len(self._grants) + len(self._revocations)
            notes.append(f"{number} grants and revocations wait to be stored: {self._not_stored}")
        if self._not_used:
            notes.append(f"stored grants are not used yet: {self._not_used}")
        return "; ".join(notes) or None

    def check(self) -> Deferred[str | None]:
        """Return a note for the readiness check: grants still apply, and end, in the processes that run."""
        return succeed(self.note)

    # -- writing

    def make(self, grant: Grant) -> None:
        """Store a new grant of an approver of this process, which shares no grants with others."""
        self.add(self._known.make(grant))

    def add(self, grant: Grant, *, soon: bool = True) -> None:
        """Store a grant.

        @param soon: whether no other process stores it.
        """
        key = key_of(grant)
        if key in self._stored:
            return
        self._grants[key] = grant
        if len(self._grants) > MAX_WAITING:
            self._grants.popitem(last=False)
        self._schedule(soon)

    def revoke(self, grant_id: str, revocation_id: str = "", time: float | None = None, *, soon: bool = True) -> None:
        """Store the revocation of one grant."""
        revocation_id = revocation_id or os.urandom(_ID_BYTES).hex()
        now = self._wall_clock() if time is None else time
        self._revoke(GrantRevocation(revocation_id, float(now), GRANT, grant_id, ""), soon)

    def revoke_matching(self, revocation: Revocation) -> None:
        """Store a revocation of decisions, unless it voids no grant; L{stored} hurries."""
        if revocation.kind is not RevocationKind.DECISION:
            self._revoke(GrantRevocation.of(revocation), soon=False)

    def _revoke(self, revocation: GrantRevocation, soon: bool) -> None:
        if revocation.revocation_id in self._stored or revocation.revocation_id in self._revocations:
            return
        register(self._known, revocation)
        self._revocations[revocation.revocation_id] = revocation
        if len(self._revocations) > MAX_WAITING:
            # Two of them become one that covers more.
            times = [self._revocations.popitem(last=False)[1].time for _ in range(2)]
            both = GrantRevocation.until(max(times), os.urandom(_ID_BYTES).hex())
            self._revocations[both.revocation_id] = both
            self._revocations.move_to_end(both.revocation_id, last=False)
        self._schedule(soon)

    def stored(self) -> Deferred[bool]:
        """Write everything that waits now.

        @return: fires with whether it was stored in time.
        """
        if not self._revocations and not self._grants:
            return succeed(True)
        done: Deferred[bool] = Deferred()
        self._waiters.append(done)

        def late() -> None:
            self._waiters.remove(done)
            done.callback(False)

        timer = self._clock.callLater(STORED_WITHIN, late)

        def finished(result: bool) -> bool:
            if timer.active():
                timer.cancel()
            return result

        done.addCallback(finished)
        self._schedule(soon=True)
        return done

    def ended(self, grant_id: str) -> bool:
        """Return whether a revocation of this process has ended a stored grant; at most once."""
        return self._ended.pop(grant_id, self) is None

    def _schedule(self, soon: bool) -> None:
        """Write soon, or later; not before the delay of a failure is over, unless someone waits."""
        delay = 0.0 if soon else 1 + _SPREAD * os.urandom(1)[0] / 256
        if self._write_failures and not self._waiters:
            delay = max(delay, _delay(self._write_failures))
        self._write_in(delay)

    def _write_in(self, delay: float) -> None:
        if self._writing or self._closed:
            return
        at = self._clock.seconds() + delay
        if self._write_timer is None:
            self._write_timer = self._clock.callLater(delay, self._write)
        elif self._write_timer.getTime() > at:
            self._write_timer.reset(delay)

    def _write(self) -> None:
        self._write_timer = None
        grants = list(self._grants.values())[:_BATCH]
        revocations = list(self._revocations.values())[:_BATCH]
        self._writing = True
        written = self._in_thread(partial(self._store.write, grants, revocations, self._wall_clock()))
        written.addCallback(self._written, grants, revocations).addErrback(self._not_written)

    def _written(self, ended: set[str], grants: Sequence[Grant], revocations: Sequence[GrantRevocation]) -> None:
        self._writing = False
        if self._write_failures:
            _log.info("audit store: grants and revocations are stored again")
        self._write_failures = 0
        self._not_stored = ""
        for name in ended:
            _remember(self._ended, name)
        for grant in grants:
            self._grants.pop(key_of(grant), None)
            _remember(self._stored, key_of(grant))
        for revocation in revocations:
            self._revocations.pop(revocation.revocation_id, None)
            _remember(self._stored, revocation.revocation_id)
        if self._grants or self._revocations:
            self._write_in(0)
            return
        waiters, self._waiters = self._waiters, []
        for each in waiters:
            each.callback(True)

    def _not_written(self, failure: Failure) -> None:
        self._writing = False
        if isinstance(failure.value, CancelledError):
            # The threads were stopped.
            return
        self._write_failures += 1
        self._not_stored = failure.getErrorMessage()
        if self._write_failures == 1:
            _log.error("audit store: grants and revocations wait to be stored: {reason}", reason=self._not_stored)
        self._write_in(_delay(self._write_failures))

    # -- reading

    def read(self) -> None:
        """Read the grants of earlier processes, until this succeeds."""
        self._read_again = True
        self._read_in(_READ_AFTER)

    def _read_in(self, delay: float) -> None:
        if self._reading or self._closed:
            return
        if self._read_timer is not None:
            self._read_timer.cancel()
        self._read_timer = self._clock.callLater(delay, self._read)

    def _read(self) -> None:
        self._read_timer = None
        self._reading, self._read_again = True, False
        self.ready().addCallback(self._read_if).addErrback(self._not_read)

    def _read_if(self, obstacle: str | None) -> Deferred[None] | None:
        if obstacle is not None:
            self._read_failed(obstacle, _PATIENCE)
            return None

        def call() -> tuple[list[Grant], int]:
            found = self._store.read(self._wall_clock())
            return in_force(found), found.changed

        return self._in_thread(call).addCallback(self._found)

    def _found(self, result: tuple[list[Grant], int]) -> None:
        stored, changed = result
        self._reading, self._read_failures, self._not_used = False, 0, ""
        if changed:
            _log.error(
                "audit store: {number} grants are not used: someone without the key has changed the table grants",
                number=changed,
            )
        for grant in stored:
            _remember(self._stored, key_of(grant))
            self._grants.pop(key_of(grant), None)
        # While the thread was reading, more of them can be revoked.
        grants = [grant for grant in stored if self._known.accepts(grant)]
        _log.info("audit store: {number} grants of approvers are stored", number=len(grants))
        self.use(grants)
        if self._read_again:
            self._read_in(_READ_AFTER)

    def _not_read(self, failure: Failure) -> None:
        if isinstance(failure.value, CancelledError):
            self._reading = False
            return
        self._read_failed(failure.getErrorMessage(), 1)

    def _read_failed(self, reason: str, patience: int) -> None:
        self._reading = False
        self._read_failures += 1
        if self._read_failures >= patience:
            self._not_used = reason
        if self._read_failures == patience:
            _log.warn("audit store: stored grants are not used yet: {reason}", reason=reason)
        self._read_in(_delay(self._read_failures))

    # -- the end

    def stop(self) -> Deferred[Any]:
        """Write what waits, unless the store cannot be reached.

        @return: fires soon.
        """
        done = self.stored()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

        def ended(_: object) -> None:
            self._closed = True
            if self._write_timer is not None:
                self._write_timer.cancel()
                self._write_timer = None

        return done.addCallback(ended)


def _delay(failures: int) -> float:
    return float(min(_FIRST_DELAY * 2 ** (failures - 1), _LONGEST_DELAY))


def _remember(known: OrderedDict[Any, None], key: object) -> None:
    """Remember a key, and forget the oldest ones."""
    known[key] = None
    known.move_to_end(key)
    if len(known) > 4 * MAX_WAITING:
        known.popitem(last=False)
