"""The work on an audit store for one batch of records, in a thread or in the writer process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, Final

import attrs

from egress.model.policy_use import PolicyUse
from egress.model.record import ExchangeRecord
from egress.model.statistics import SpoolStats
from egress.store.interfaces import IAuditStore, ISpooledStore, StoreError

_ROLL_UP_SECONDS: Final = 10.0
# The steps between two batches.
_ROLL_UP_STEPS: Final = 4
_PRUNE_SECONDS: Final = 60.0
# The steps between two batches.
_PRUNE_STEPS: Final = 10
_CATCH_UP_STEPS: Final = 10
_DAY: Final = 86400.0


@attrs.frozen
class SpoolReport:
    """The state of the spool of a store.

    @ivar fault: the reason why records wait; C{None} if the server was reached.
    @ivar stats: the state for the metrics.
    @ivar late: the number of records that were stored after they had waited.
    @ivar refused: the number of waiting records that the server could not store.
    """

    fault: str | None
    stats: SpoolStats
    late: int
    refused: int


@attrs.frozen(kw_only=True)
class BatchReport:
    """The result of the work for one batch.

    @ivar fault: the reason why the work failed; C{None} if it did not.
    @ivar again: whether the records must be written again.
    @ivar written: if records must be written again: how many of the first ones need not, because a batch has parts.
    @ivar errors: the errors of records that cannot be stored.
    @ivar more: whether there is more work, although no record waits.
    @ivar spool: the state of the spool; C{None} if the store has none.
    @ivar checkpoint: the last signed block; C{None} if the store signed none.
    """

    fault: str | None = None
    again: bool = False
    written: int = 0
    errors: tuple[str, ...] = ()
    more: bool = False
    spool: SpoolReport | None = None
    checkpoint: str | None = None


def merged(parts: Sequence[tuple[int, BatchReport]]) -> BatchReport:
    """Return the result of a batch: its last state, and all failures.

    @param parts: the number of records and the result of each part, in their order; after a part that must be written
        again, no part was written.
    """
    reports = [report for _, report in parts]
    kept = list(takewhile(lambda part: not part[1].again, parts))
    again = len(kept) < len(parts)
    return attrs.evolve(
        reports[-1],
        fault=next((each.fault for each in reports if each.fault is not None), None),
        again=again,
        written=sum(number for number, _ in kept) if again else 0,
        errors=tuple(error for each in reports for error in each.errors),
        checkpoint=next((each.checkpoint for each in reversed(reports) if each.checkpoint is not None), None),
    )


@attrs.frozen
class Retention:
    """The maximum of what a store contains.

    @ivar days: the maximum age of records, in days.
    @ivar max_bytes: the maximum size, in bytes.
    """

    days: int
    max_bytes: int


class StoreBatches:
    """Writes batches to a store, and maintains it between them.

    @param store: the store, which L{finish} closes.
    @param seconds: returns the seconds of a monotonic clock.
    @param now: returns the seconds since the epoch.
    @param retention: the records to keep.
    @param rolls_up: whether it updates the rollups of the store, which the web console reads.
    """

    def __init__(
        self,
        store: IAuditStore,
        *,
        seconds: Callable[[], float],
        now: Callable[[], float],
        retention: Retention,
        rolls_up: bool = False,
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._now = now
        self._retention = retention
        self._rolls_up = rolls_up
        self._prune_at = self._roll_up_at = seconds()
        self._spooled: Any = store if ISpooledStore.providedBy(store) else None

    def spool(self) -> SpoolReport | None:
        """Return the state of the spool; C{None} if the store has none."""
        store = self._spooled
        if store is None:
            return None
        stats = SpoolStats(
            reached=store.fault is None,
            records=store.waiting,
            size=store.waiting_bytes,
            oldest=store.oldest_waiting,
        )
        return SpoolReport(store.fault, stats, store.late, store.refused)

    def work(self, entries: Sequence[ExchangeRecord | PolicyUse]) -> BatchReport:
        """Write records and uses of policies, update the rollups, and delete old records."""
        try:
            try:
                errors = self._append(entries)
            finally:
                # A full spool accepts no record before records of it are stored.
                waits = self._spooled is not None and all(self._spooled.catch_up() for _ in range(_CATCH_UP_STEPS))
            more = self._maintain()
        except Exception as error:  # noqa: BLE001 - any error is a result
            # The store ignores the records that it has.  Another error is that of the deletion of old records.
            return self._report(fault=_text(error), again=isinstance(error, StoreError))
        # The server can be lost while old records are deleted, too.
        away = self._spooled is not None and self._spooled.fault is not None
        return self._report(errors=errors, more=waits or more or away)

    def finish(self, entries: Sequence[ExchangeRecord | PolicyUse]) -> BatchReport:
        """Write the last records, and close the store."""
        try:
            errors = self._append(entries)
        except StoreError as error:
            report = self._report(fault=str(error), again=True)
        else:
            report = self._report(errors=errors)
        self._store.close()
        return report

    def _append(self, entries: Sequence[ExchangeRecord | PolicyUse]) -> tuple[str, ...]:
        """Write entries, and return the errors of records that cannot be stored."""
        uses = [each for each in entries if isinstance(each, PolicyUse)]
        try:
            # First, so that a policy is known before the records of its decisions.
            if uses:
                self._store.record_policies(uses)
        finally:
            errors = append_all(self._store, [each for each in entries if isinstance(each, ExchangeRecord)])
        return tuple(errors)

    def _report(self, **fields: Any) -> BatchReport:
        checkpoint = getattr(self._store, "checkpoint", None)
        return BatchReport(spool=self.spool(), checkpoint=None if checkpoint is None else str(checkpoint), **fields)

    def _maintain(self) -> bool:
        """Update the rollups, and delete old records; tell whether there are more records to delete."""
        if self._rolls_up and self._seconds() >= self._roll_up_at:
            now = self._now()
            if not all(self._store.roll_up(now) for _ in range(_ROLL_UP_STEPS)):
                self._roll_up_at = self._seconds() + _ROLL_UP_SECONDS
        if self._seconds() < self._prune_at:
            return False
        before = self._now() - self._retention.days * _DAY
        more = all(self._store.prune(before, self._retention.max_bytes) for _ in range(_PRUNE_STEPS))
        if not more:
            self._prune_at = self._seconds() + _PRUNE_SECONDS
        return more


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def append_all(store: IAuditStore, records: Sequence[ExchangeRecord]) -> list[str]:
    """Store records; if one of them cannot be stored, store the others.

    @return: the errors of records that cannot be stored.
    @raise StoreError: if the store cannot be used; the records that it has are ignored when they are stored again.
    """
    if not records:
        return []
    try:
        store.append(records)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - such as an integer that is too large
        if len(records) == 1:
            return [_text(error)]
        return [text for record in records for text in append_all(store, [record])]
    return []
