"""The state of the proxy, and the charts of the last hour or day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import attrs

from egress.console import formats
from egress.console.charts import Axes, Chart, Series, Subject, bar_chart, line_chart
from egress.console.destinations_view import Link
from egress.console.paths import with_query
from egress.observability.health import OK, is_ok
from egress.observability.history import VERDICTS, History, Period, Reading, quantile

_SOON: Final = 30 * 86400

_KINDS: Final = {"allow": "one", "deny": "bad", "unavailable": "warn", "rejected": "three", "failed": "two"}

# The readiness checks: their names, and the fix of a check that is not ready.
_CHECKS: Final[Mapping[str, tuple[str, str]]] = {
    "authorizer": ("Authorizer", "Start the authorization service, or correct --authz-url. Setup has more checks."),
    "ca": ("CA", "Replace the CA: egress ca rotate."),
    "audit": ("Audit records", "Make the audit log and the audit store writable: free space, or correct permissions."),
    "running": ("Running", "Wait until the proxy has stopped, or start it again."),
    "workers": ("Workers", "The log has the reason why a worker ended. Check the memory and the open files."),
}


@attrs.frozen
class CheckRow:
    """A readiness check.

    @ivar name: the name.
    @ivar is_ok: whether it is ready.
    @ivar reason: why it is not ready.
    @ivar remedy: the fix; empty if it is ready.
    """

    name: str
    is_ok: bool
    reason: str
    remedy: str


def checks_of(found: Mapping[str, str]) -> list[CheckRow]:
    """Return the rows of the readiness checks; the ones that are not ready come first."""
    rows = []
    for name, reason in found.items():
        title, remedy = _CHECKS.get(name, (name, "The log of the proxy has the reason."))
        passed = is_ok(reason)
        text = reason.removeprefix(f"{OK}: ") if passed else reason
        rows.append(CheckRow(title, passed, "" if reason == OK else text, "" if passed else remedy))
    return sorted(rows, key=lambda row: row.is_ok)


@attrs.frozen
class Tile:
    """A number.

    @ivar name: the name.
    @ivar value: the value with its unit.
    @ivar kind: C{good}, C{bad}, C{warn} or an empty text.
    @ivar note: more about the value.
    """

    name: str
    value: str
    kind: str = ""
    note: str = ""


def tiles_of(history: History, now: float) -> list[Tile]:
    """Return the current numbers; without a reading, none."""
    reading = history.current
    if reading is None:
        return []
    hour = Period(0)
    for period in history.hour.last(now):
        hour = hour if period is None else hour.add(period)
    tiles = [*_requests(hour), _ca(reading, now)]
    gauges = reading.gauges
    if "breaker.closed" in gauges:
        tiles.append(_breaker(gauges))
        queued = gauges.get("queued", 0.0)
        note = f"{formats.number(gauges.get('in_progress', 0.0))} in progress"
        tiles.append(Tile("Queued authorizations", formats.number(queued), "warn" if queued else "", note))
    if hour.hit_rate is not None:
        tiles.append(Tile("Cache hit rate, last hour", percent(hour.hit_rate)))
    tiles.append(Tile("Client connections", formats.number(gauges.get("connections", 0.0))))
    if "workers.configured" in gauges:
        running, wanted = gauges.get("workers.running", 0.0), gauges["workers.configured"]
        tiles.append(Tile("Workers", f"{running:.0f} of {wanted:.0f}", "" if running == wanted else "bad"))
    lost = reading.counters.get("lost", 0.0)
    if lost:
        tiles.append(Tile("Audit records lost", formats.number(lost), "bad", "since the start"))
    return tiles


def _requests(hour: Period) -> list[Tile]:
    requests, denied = hour.requests, hour.count("verdict.deny")
    slow = quantile(hour.decisions, 0.99)
    note = f"{percent(denied / requests)} of all" if denied else ""
    return [
        Tile("Requests, last hour", formats.number(requests)),
        Tile("Denied, last hour", formats.number(denied), "bad" if denied else "", note),
        Tile("Decision, 99 % below", formats.milliseconds(None if slow is None else slow * 1000)),
    ]


def _ca(reading: Reading, now: float) -> Tile:
    if reading.ca_expiry is None:
        return Tile("CA expiry", formats.NONE)
    left = reading.ca_expiry - now
    kind = "bad" if left <= 0 else "warn" if left < _SOON else ""
    years = left / (365.25 * 86400)
    value = "expired" if left <= 0 else f"in {years:.0f} years" if years >= 2 else f"in {formats.seconds(left)}"
    return Tile("CA expiry", value, kind, formats.moment(reading.ca_expiry)[:10])


def _breaker(gauges: Mapping[str, float]) -> Tile:
    for state, kind in (("open", "bad"), ("half-open", "warn")):
        number = gauges.get(f"breaker.{state}", 0.0)
        if number:
            total = sum(gauges.get(f"breaker.{each}", 0.0) for each in ("closed", "open", "half-open"))
            note = f"in {number:.0f} of {total:.0f} processes" if total > 1 else ""
            return Tile("Circuit breaker", state, kind, note)
    return Tile("Circuit breaker", "closed", "good")


def percent(share: float) -> str:
    """Format a share in percent."""
    value = 100 * share
    return f"{value:.1f} %" if 0 < value < 10 or 99 < value < 100 else f"{value:.0f} %"


def spans(path: str, span: str) -> list[Link]:
    """Return the links to the charts of the last hour, and of the last day."""
    return [
        Link(text="Hour", path=path, current=span == "hour"),
        Link(text="Day", path=with_query(path, span="day"), current=span == "day"),
    ]


def charts_of(history: History, span: str, now: float) -> list[Chart]:
    """Return the charts.

    @param history: the history.
    @param span: C{hour} or C{day}.
    @param now: the current time, in seconds since the epoch.
    """
    ring = history.day if span == "day" else history.hour
    words = "the last day in periods of 15 minutes" if span == "day" else "the last hour by minute"
    each = "15 min" if span == "day" else "min"
    axes = Axes(starts=ring.starts(now), seconds=ring.seconds, words=words)
    periods = ring.last(now)

    def values(take: Callable[[Period], float | None]) -> Sequence[float | None]:
        return [None if period is None else take(period) for period in periods]

    def count(name: str) -> Sequence[float | None]:
        return values(lambda period: period.count(name))

    def peak(name: str) -> Sequence[float | None]:
        return values(lambda period: period.peaks.get(name))

    def has(name: str) -> bool:
        return any(period is not None and name in period.peaks for period in periods)

    def duration(share: float) -> Sequence[float | None]:
        def take(period: Period) -> float | None:
            found = quantile(period.decisions, share)
            return None if found is None else 1000 * found

        return values(take)

    whole = partial(Subject, format=formats.number, is_whole=True)
    verdicts = [Series(name, _KINDS[name], count(f"verdict.{name}")) for name in VERDICTS]
    requests = whole(name="requests", title=f"Requests per {each}", has_totals=True)
    decisions = Subject(
        name="decisions", title="Duration of decisions", format=_milliseconds, empty="No decision was made."
    )
    charts = [
        bar_chart(axes, requests, verdicts),
        line_chart(
            axes,
            decisions,
            [Series("median", "one", duration(0.5)), Series("99 % below", "two", duration(0.99))],
        ),
    ]

    def add(subject: Subject, *series: Series) -> None:
        charts.append(line_chart(axes, subject, series))

    hits = Series("hit rate", "one", values(lambda period: period.hit_rate))
    if any(value is not None for value in hits.values):
        add(Subject(name="cache", title="Cache hit rate", format=percent, top=1.0), hits)
    if has("breaker.closed"):
        add(
            whole(name="queue", title="Authorization requests, highest number"),
            Series("in progress", "one", peak("in_progress")),
            Series("queued", "two", peak("queued")),
        )
        add(
            whole(name="breaker", title="Circuit breakers that are not closed"),
            Series("open", "bad", peak("breaker.open")),
            Series("half-open", "warn", peak("breaker.half-open")),
        )
    add(
        whole(name="connections", title="Client connections, highest number"),
        Series("connections", "one", peak("connections")),
    )
    add(
        Subject(name="traffic", title=f"Content per {each}", format=_size, has_totals=True),
        Series("received", "one", count("received")),
        Series("sent", "two", count("sent")),
    )
    if has("workers.running"):
        add(
            whole(name="workers", title="Workers, lowest number"),
            Series("running", "one", peak("workers.running")),
            Series("configured", "three", peak("workers.configured")),
        )
    add(
        Subject(name="processor", title="Processor time, as a share of one core", format=percent),
        Series("processor", "one", values(lambda period: period.count("cpu_seconds") / axes.seconds)),
    )
    add(Subject(name="memory", title="Memory, highest value", format=_size), Series("memory", "one", peak("memory")))
    return charts


def _milliseconds(value: float) -> str:
    return formats.milliseconds(value) if value else "0 ms"


def _size(value: float) -> str:
    return formats.size(round(value))
