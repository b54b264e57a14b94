"""The list of destinations, and the paths of one destination."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import attrs

from egress.console import formats
from egress.console.paths import ROOT, with_query
from egress.policy.learn.path_templates import pattern_of, shape_of
from egress.store.destinations import ORDERS, VERDICTS, Destination, Destinations, Durations, Page, Paths
from egress.store.filter_language import Condition, Equals, Filter, FilterError, parse_filter
from egress.store.rollups import BOUNDS

ROWS: Final = 100
"""The number of destinations on one page."""

SHOWN_PATHS: Final = 100
"""The maximum number of paths that are shown."""

NEW_SECONDS: Final = 86400
"""The time for which a destination is new."""

_MAX_PAGE: Final = 10_000
_HOUR: Final = 3600
_DAY: Final = 86400

RANGES: Final[Mapping[str, tuple[str, int | None]]] = {
    "1h": ("Hour", _HOUR),
    "1d": ("Day", _DAY),
    "7d": ("Week", 7 * _DAY),
    "30d": ("30 days", 30 * _DAY),
    "all": ("All", None),
}
"""The time ranges: their names, and their lengths in seconds."""

_DEFAULT_RANGE: Final = "1d"
_DEFAULT_ORDER: Final = "records"
# The values of a filter that need no quotes.
_BARE: Final = re.compile(r"[A-Za-z0-9._~/*:\[\]@!$&'()+;=%-]+")

# Columns: the order, the text, whether it has numbers, and whether the largest value comes first.
_COLUMNS: Final = (
    ("host", "Destination", False, False),
    ("records", "Requests", True, True),
    ("deny", "Denied", True, True),
    ("other", "Not decided", True, True),
    ("received", "Received", True, True),
    ("sent", "Sent", True, True),
    ("duration", "Duration, 95 %", True, True),
    ("first", "First seen", False, True),
    ("last", "Last seen", False, True),
)
_OTHER_VERDICTS: Final = ("unavailable", "rejected", "failed")


def filter_text(*conditions: tuple[str, str]) -> str:
    """Return a filter with conditions on fields, of which each has one value."""
    return " ".join(f"{field}:{_value(value)}" for field, value in conditions)


def _value(text: str) -> str:
    if _BARE.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def live_link(*conditions: tuple[str, str]) -> str:
    """Return the path of the Live page with a filter."""
    return with_query(f"{ROOT}/live", q=filter_text(*conditions))


@attrs.frozen(kw_only=True)
class Link:
    """A link that selects a part of the list.

    @ivar text: the text.
    @ivar path: the path.
    @ivar current: whether it is the current selection.
    """

    text: str
    path: str
    current: bool = False


@attrs.frozen(kw_only=True)
class Column:
    """A column of the table.

    @ivar text: the header.
    @ivar path: the link that sorts by the column; the second use reverses the order.
    @ivar sorted: the value of C{aria-sort}, or an empty text.
    @ivar is_number: whether the column contains numbers.
    """

    text: str
    path: str
    sorted: str
    is_number: bool


@attrs.frozen(kw_only=True)
class Wanted:
    """The part of the list that a visitor wants to see.

    @ivar path: the path of the page.
    @ivar text: the filter, as the visitor wrote it.
    @ivar range: one of L{RANGES}; an empty text if the filter has a time.
    @ivar order: one of L{ORDERS}.
    @ivar descending: whether the largest value comes first.
    @ivar only_new: whether only new destinations are shown.
    @ivar page: the number of the page, from 1.
    @ivar given: the parsed filter with the time range; C{None} if the filter has an error.
    @ivar error: the error of the filter; empty if it has none.
    """

    path: str
    text: str
    range: str
    order: str
    descending: bool
    only_new: bool
    page: int
    now: float
    given: Filter | None
    error: str = ""

    @classmethod
    def parse(cls, path: str, parameters: Mapping[str, str], now: float) -> Wanted:
        """Parse the parameters of a URL; unknown values are the defaults."""
        text = parameters.get("q", "")
        range_ = parameters.get("range", "")
        order = parameters.get("sort", "")
        page = parameters.get("page", "")
        given, error = None, ""
        if range_ not in RANGES:
            range_ = _DEFAULT_RANGE
        try:
            given = parse_filter(text, now)
        except FilterError as failure:
            error = str(failure)[:1].upper() + str(failure)[1:]
        else:
            seconds = RANGES[range_][1]
            if given.since is not None or given.until is not None:
                range_ = ""
            elif seconds is not None:
                given = attrs.evolve(given, since=now - seconds)
        order = order if order in ORDERS else _DEFAULT_ORDER
        default = _is_descending(order)
        return cls(
            path=path,
            text=text,
            range=range_,
            order=order,
            descending={"asc": False, "desc": True}.get(parameters.get("dir", ""), default),
            only_new=parameters.get("new") == "1",
            page=max(1, min(_MAX_PAGE, int(page))) if page.isascii() and page.isdecimal() else 1,
            now=now,
            given=given,
            error=error,
        )

    @property
    def rows(self) -> Page:
        """The part of the list, for the audit store."""
        return Page(
            order=self.order,
            descending=self.descending,
            limit=ROWS,
            offset=(self.page - 1) * ROWS,
            new_since=self.now - NEW_SECONDS if self.only_new else None,
        )

    def link(self, **changes: object) -> str:
        """Return the path of the page with changed parameters."""
        wanted = attrs.evolve(self, **{"page": 1, **changes})  # type: ignore[arg-type]
        descending = "desc" if wanted.descending else "asc"
        return with_query(
            self.path,
            q=wanted.text,
            range="" if wanted.range == _DEFAULT_RANGE else wanted.range,
            sort="" if wanted.order == _DEFAULT_ORDER else wanted.order,
            dir="" if wanted.descending == _is_descending(wanted.order) else descending,
            new="1" if wanted.only_new else "",
            page="" if wanted.page == 1 else str(wanted.page),
        )

    @property
    def ranges(self) -> list[Link]:
        """The links to other time ranges."""
        return [
            Link(text=text, path=self.link(range=name), current=name == self.range)
            for name, (text, _) in RANGES.items()
        ]

    @property
    def kinds(self) -> list[Link]:
        """The links to all destinations, and to new ones only."""
        return [
            Link(text="All", path=self.link(only_new=False), current=not self.only_new),
            Link(text="New", path=self.link(only_new=True), current=self.only_new),
        ]

    @property
    def columns(self) -> list[Column]:
        """The columns, with the links that sort by them."""
        found = []
        for order, text, is_number, descending in _COLUMNS:
            current = order == self.order
            path = self.link(order=order, descending=not self.descending if current else descending)
            direction = "descending" if self.descending else "ascending"
            found.append(Column(text=text, path=path, sorted=direction if current else "", is_number=is_number))
        return found

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """The parameters that the form of the filter keeps."""
        values = {"range": self.range, "sort": self.order, "new": "1" if self.only_new else ""}
        defaults = {"range": _DEFAULT_RANGE, "sort": _DEFAULT_ORDER}
        return [(name, value) for name, value in values.items() if value not in ("", defaults.get(name))]

    def pages(self, found: Destinations) -> tuple[str | None, str | None]:
        """Return the links to the previous and the next page."""
        before = self.link(page=self.page - 1) if self.page > 1 else None
        after = self.link(page=self.page + 1) if self.page * ROWS < found.hosts else None
        return before, after


def _is_descending(order: str) -> bool:
    return next((descending for name, _, _, descending in _COLUMNS if name == order), True)


@attrs.frozen(kw_only=True)
class Row:
    """A destination, or a path of one, as the tables show it.

    @ivar name: the host or the path.
    @ivar method: the method of a path.
    @ivar path: the link to the details; empty if there are none.
    @ivar is_new: whether the destination is new.
    @ivar requests: the number of requests.
    @ivar denied: the number of denied ones; empty if there are none.
    @ivar denied_path: the link to the denied ones.
    @ivar other: the number of requests without a decision; empty if there are none.
    @ivar other_path: the link to the requests without a decision.
    @ivar received: content bytes to clients.
    @ivar sent: content bytes to the destination.
    @ivar median: the estimated median of the durations.
    @ivar slow: the estimated 95th percentile.
    @ivar longest: the longest duration.
    @ivar first: the time of the first request.
    @ivar first_ago: how long ago that is.
    @ivar last: the time of the last request.
    @ivar last_ago: how long ago that is.
    """

    name: str
    method: str = ""
    path: str = ""
    is_new: bool = False
    requests: str
    denied: str = ""
    denied_path: str = ""
    other: str = ""
    other_path: str = ""
    received: str
    sent: str
    median: str
    slow: str
    longest: str
    first: str
    first_ago: str
    last: str
    last_ago: str


def row_of(found: Destination, now: float) -> Row:
    """Return the row of a destination."""
    host = found.host
    conditions = (("host", host),) if host else ()
    row = _row(found, now, conditions)
    # A request that could not be parsed has no host.
    path = f"{ROOT}/destinations/{quote(host, safe='')}"
    if not host:
        return attrs.evolve(row, name="(invalid requests)", denied_path="", other_path="")
    return attrs.evolve(row, name=host, path=path, is_new=found.first_seen >= now - NEW_SECONDS)


def _row(found: Destination, now: float, conditions: tuple[tuple[str, str], ...]) -> Row:
    denied = found.verdicts["deny"]
    other = sum(found.verdicts[verdict] for verdict in _OTHER_VERDICTS)
    durations = found.durations
    first = found.first_seen
    others = filter_text(*conditions) + " verdict:" + ",".join(_OTHER_VERDICTS)
    return Row(
        name=found.path,
        method=found.method,
        requests=formats.number(found.records),
        denied=formats.number(denied) if denied else "",
        denied_path=live_link(*conditions, ("verdict", "deny")),
        other=formats.number(other) if other else "",
        other_path=with_query(f"{ROOT}/live", q=others.strip()),
        received=formats.size(found.bytes_received),
        sent=formats.size(found.bytes_sent),
        median=formats.milliseconds(durations.quantile(0.5)),
        slow=formats.milliseconds(durations.quantile(0.95)),
        longest=formats.milliseconds(durations.longest if durations.count else None),
        first=formats.moment(first),
        first_ago=formats.ago(first, now),
        last=formats.moment(found.last),
        last_ago=formats.ago(found.last, now),
    )


@attrs.frozen(kw_only=True)
class PathList:
    """The paths of a destination.

    @ivar rows: the paths.
    @ivar records: how many requests they are from.
    @ivar more: the number of paths that are not shown.
    @ivar limited: whether older requests were not read.
    """

    rows: tuple[Row, ...]
    records: str
    more: int
    limited: bool


def paths_of(host: str, found: Paths, now: float) -> PathList:
    """Group the paths of a destination: C{*} replaces identifiers."""
    groups: dict[tuple[str, str], Destination] = {}
    for each in found.rows:
        key = each.method, _pattern(each.path)
        groups[key] = _sum(groups[key], each) if key in groups else attrs.evolve(each, path=key[1])
    ordered = sorted(groups.values(), key=lambda each: (-each.records, each.path, each.method))
    return PathList(
        rows=tuple(_path_row(host, each, now) for each in ordered[:SHOWN_PATHS]),
        records=formats.number(found.records),
        more=max(0, len(ordered) - SHOWN_PATHS),
        limited=found.limited,
    )


def _pattern(path: str) -> str:
    return pattern_of(shape_of(path)) if path.startswith("/") else path


def _path_row(host: str, found: Destination, now: float) -> Row:
    conditions = [("host", host)]
    if found.path.startswith("/"):
        conditions.append(("path", found.path))
    if found.method:
        conditions.append(("method", found.method))
    row = _row(found, now, tuple(conditions))
    other = "(tunnel)" if found.method == "CONNECT" else "(no path)"
    return attrs.evolve(row, name=found.path or other, path=live_link(*conditions))


def _sum(one: Destination, other: Destination) -> Destination:
    durations = Durations(
        one.durations.count + other.durations.count,
        one.durations.total + other.durations.total,
        max(one.durations.longest, other.durations.longest),
        tuple(one.durations.within[index] + other.durations.within[index] for index in range(len(BOUNDS))),
    )
    return attrs.evolve(
        one,
        records=one.records + other.records,
        verdicts={verdict: one.verdicts[verdict] + other.verdicts[verdict] for verdict in VERDICTS},
        bytes_sent=one.bytes_sent + other.bytes_sent,
        bytes_received=one.bytes_received + other.bytes_received,
        durations=durations,
        first=min(one.first, other.first),
        last=max(one.last, other.last),
        first_seen=min(one.first_seen, other.first_seen),
    )


def host_filter(host: str, given: Filter) -> Filter:
    """Add a host to a filter, so that only its records are found."""
    return attrs.evolve(given, conditions=(*given.conditions, Condition("host", (Equals(host),))))
