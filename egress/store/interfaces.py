"""The interface of an audit store, which each kind of database implements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from egress.model.policy_use import PolicyUse
    from egress.model.record import ExchangeRecord
    from egress.store.destinations import Destinations, Page, Paths
    from egress.store.filter_language import Filter


class StoreError(Exception):
    """The audit store cannot be used; the message names the problem and, where there is one, the fix."""


class StoreUnreachable(StoreError):
    """There is no connection to the server of the audit store; later, there can be one."""


MAX_RULES: Final = 10_000
"""The maximum number of rules whose records are counted: an authorization service can name any number of rules."""


@attrs.frozen
class RuleUse:
    """The records that a rule decided.

    @ivar records: their number.
    @ivar last: the time of the newest one, in seconds since the epoch.
    """

    records: int
    last: float


class IAuditStore(Interface):
    """Stores audit records.  Every method may block, and raises L{StoreError}."""

    def append(records: Sequence[ExchangeRecord]) -> None:
        """Store records in one transaction; a record whose request id is stored already is ignored."""

    def prune(before: float, max_bytes: int) -> bool:
        """Delete a small number of the oldest records.

        @param before: records from before this time are deleted, in seconds since the epoch.
        @param max_bytes: the size of the store above which records are deleted.
        @return: whether there is more to delete.
        """

    def search(given: Filter, limit: int | None, oldest_first: bool = False) -> Iterator[Mapping[str, Any]]:
        """Find records.

        @param given: the filter.
        @param limit: the maximum number of records; C{None}: all.
        @param oldest_first: whether the order is that of time; otherwise, the newest record is the first one.
        @return: the fields of an audit line for each record.
        """

    def written_after(given: Filter, seq: int) -> tuple[int, list[Mapping[str, Any]]]:
        """Find the records that were written after another one, in the order of writing.

        @param given: the filter.
        @param seq: the number of that record; see L{last_seq}.
        @return: the number of the last record that was examined, and the records.
        """

    def last_seq() -> int:
        """Return the number of the last record that was written."""

    def statistics(given: Filter, top: int) -> Mapping[str, Any]:
        """Count records.

        @param given: the filter.
        @param top: the maximum number of hosts and of rules.
        @return: C{records}, C{first} and C{last} (times), C{bytesSent}, C{bytesReceived}, and lists of C{verdicts},
            C{hosts} and C{rules}, each with C{name} and C{records}.
        """

    def rule_uses(given: Filter) -> Mapping[str, RuleUse]:
        """Count the records of each rule.

        @param given: the filter.
        @return: the uses by rule id, of at most L{MAX_RULES} rules.
        """

    def roll_up(now: float) -> bool:
        """Add a small number of records to the rollups, which L{destinations} reads.

        @param now: the current time, in seconds since the epoch.
        @return: whether there is more to add.
        """

    def destinations(given: Filter, page: Page, now: float) -> Destinations:
        """Find the hosts of records.

        @param given: the filter.
        @param page: the part of the list, and its order.
        @param now: the current time, in seconds since the epoch.
        """

    def paths(host: str, given: Filter) -> Paths:
        """Find the paths of a host.

        @param host: the host, in lower case.
        @param given: the filter, which can restrict the records further.
        """

    def record_policies(uses: Sequence[PolicyUse]) -> None:
        """Add entries to the history of policies; an entry that repeats the last one of its machine is ignored."""

    def policy_uses(limit: int) -> list[PolicyUse]:
        """Return the newest entries of the history of policies, the newest first, without their texts."""

    def policy_texts(digest: str) -> str | None:
        """Return the texts of a policy as JSON (L{egress.policy.loaded_policy.texts_to_json}); C{None}: it has none."""

    def close() -> None:
        """Close the store."""


class ISpooledStore(IAuditStore):
    """An audit store whose records wait in a spool while its server cannot be reached."""

    fault = Attribute("The reason why records wait; C{None} if the server was reached.")
    refused = Attribute("The number of waiting records that the server could not store, and that are lost.")
    late = Attribute("The number of records that were stored after they had waited.")
    waiting = Attribute("The number of waiting records.")
    waiting_bytes = Attribute("The size of the waiting records, in bytes.")
    oldest_waiting = Attribute(
        "The time of the oldest waiting record, in seconds since the epoch; C{None} if none waits."
    )

    def catch_up() -> bool:
        """Store a number of waiting records, unless the next attempt to reach the server is due later.

        @return: whether records wait, or the server cannot be reached.
        """
