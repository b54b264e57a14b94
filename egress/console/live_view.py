"""The rows of the Live page, and the pages of older records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from egress.console import formats
from egress.console.paths import ROOT, request_path, with_query
from egress.model.change import STAGE
from egress.store.filter_language import Filter, FilterError, parse_filter

ROWS: Final = 100
"""The number of records on one page."""

_SAME_MILLISECOND: Final = 50
_SEPARATOR: Final = "~"


@attrs.frozen(kw_only=True)
class DecisionRow:
    """One decision, as the table shows it.

    @ivar id: the id of the request.
    @ivar link: the path of its page.
    @ivar time: the time in RFC 3339.
    @ivar clock: the time of day, to the second.
    @ivar fraction: the milliseconds of the time, with the point before them.
    @ivar client: the name or the address of the client, and the proxy that it used.
    @ivar method: the method.
    @ivar url: the redacted URL.
    @ivar verdict: the verdict.
    @ivar kind: the kind of the chip of the verdict.
    @ivar rule: the rule that decided, or the authorizer.
    @ivar reason: the reason.
    @ivar status: the status that the client received.
    @ivar duration: the duration of the exchange.
    """

    id: str
    link: str
    time: str
    clock: str
    fraction: str
    client: str
    method: str
    url: str
    verdict: str
    kind: str
    rule: str
    reason: str
    status: str
    duration: str


_KINDS: Final = {"allow": "good", "deny": "bad", "rejected": "bad", "unavailable": "warn", "failed": "warn"}


def verdict_text(record: Mapping[str, Any]) -> str:
    """Return the verdict of a record, with that which observe mode did not enforce."""
    observed = record["observed"]
    return str(record["verdict"]) if observed is None else f"{record['verdict']} (observed: {observed})"


def verdict_kind(record: Mapping[str, Any]) -> str:
    """Return the kind of the chip of a verdict."""
    return "warn" if record["observed"] is not None else _KINDS.get(record["verdict"], "none")


def row_of(record: Mapping[str, Any]) -> DecisionRow:
    """Return the row of a record of the audit store."""
    status = record["status"]
    clock, point, fraction = formats.clock_time(record["time"]).partition(".")
    return DecisionRow(
        id=record["requestId"],
        link=request_path(record["requestId"]),
        time=record["time"],
        clock=clock,
        fraction=point + fraction,
        client=_client(record),
        method=record["method"],
        # The record of a change has no URL.
        url=record["reason"] if record["stage"] == STAGE else record["url"],
        verdict=verdict_text(record),
        kind=verdict_kind(record),
        rule=record["ruleId"] or record["decidedBy"],
        reason=record["reason"],
        status=formats.NONE if status is None else str(status),
        duration=formats.milliseconds(record["durationMs"]),
    )


def _client(record: Mapping[str, Any]) -> str:
    """Return the client, and the proxy that it used if several proxies share the store."""
    client = str(record["identity"] or record["client"].rpartition(":")[0])
    return f"{client} via {record['node']}" if "node" in record else client


@attrs.frozen
class Wanted:
    """The records that a visitor wants to see.

    @ivar text: the filter, as the visitor wrote it.
    @ivar given: the parsed filter; C{None} if it has an error.
    @ivar error: the error of the filter; empty if it has none.
    @ivar position: the index of the character at fault.
    @ivar before: the time and the id of the record after which older ones begin; C{None}: the newest records.
    """

    text: str
    given: Filter | None
    error: str = ""
    position: int = 0
    before: tuple[str, str] | None = None

    @classmethod
    def parse(cls, text: str, cursor: str, now: float) -> Wanted:
        """Parse a filter and the beginning of a page."""
        before = _cursor(cursor)
        try:
            given = parse_filter(text, now)
        except FilterError as error:
            return cls(text, None, error.remedy, error.position, before)
        if before is not None:
            end = _milliseconds(before[0]) + 1
            until = end / 1000 if given.until is None else min(given.until, end / 1000)
            given = attrs.evolve(given, until=until)
        return cls(text, given, "", 0, before)

    @property
    def limit(self) -> int:
        """How many records to read: one page, one more, and the records of the same millisecond."""
        return ROWS + 1 + (0 if self.before is None else _SAME_MILLISECOND)

    def page_of(self, records: Sequence[Mapping[str, Any]]) -> tuple[list[DecisionRow], str | None]:
        """Return the rows of a page, and the link to the page with older records, if there are any."""
        if self.before is not None:
            for index, record in enumerate(records[: _SAME_MILLISECOND + 1]):
                if (record["time"], record["requestId"]) == self.before:
                    records = records[index + 1 :]
                    break
        shown = records[:ROWS]
        older = None
        if len(records) > ROWS:
            last = shown[-1]
            cursor = f"{last['time']}{_SEPARATOR}{last['requestId']}"
            older = link_to(self.text, cursor)
        return [row_of(record) for record in shown], older

    @property
    def mark(self) -> tuple[str, str]:
        """The text of the filter before the error, and from it on."""
        return self.text[: self.position], self.text[self.position :]


def link_to(text: str, cursor: str = "") -> str:
    """Return the path of the Live page with a filter."""
    return with_query(f"{ROOT}/live", q=text, before=cursor)


def _cursor(text: str) -> tuple[str, str] | None:
    time, separator, identifier = text.partition(_SEPARATOR)
    try:
        _milliseconds(time)
    except ValueError:
        return None
    return (time, identifier) if separator else None


def _milliseconds(time: str) -> int:
    moment = datetime.fromisoformat(time.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(time)
    return round(moment.timestamp() * 1000)
