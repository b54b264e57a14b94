"""The Live page: the newest decisions, and older ones by a filter."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from egress.console.live_feed import LiveFeed, parse_seq
from egress.console.live_view import Wanted, link_to
from egress.console.page import EventStream, Html, Page, Refused, Route, Visit
from egress.console.sources import ConsoleSources
from egress.store.interfaces import IAuditStore, StoreError


class LivePage:
    """The routes of the page.

    @param sources: the data.
    """

    def __init__(self, sources: ConsoleSources) -> None:
        self._sources = sources
        reads = sources.live_reads
        self._feed = None if reads is None else LiveFeed(sources.clock, reads)

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (Route("GET", "/live", self._show), Route("GET", "/live/events", self._follow))

    async def _show(self, visit: Visit) -> Html:
        wanted = self._wanted(visit)
        values: dict[str, Any] = {
            "wanted": wanted,
            "rows": [],
            "older": None,
            "seq": None,
            "has_store": self._sources.reads is not None,
            "store_error": "",
            "newest": None if wanted.before is None else link_to(wanted.text),
        }
        try:
            values.update(await self._read(wanted))
        except StoreError as error:
            values["store_error"] = str(error)
        return Html("live.html", values)

    async def _read(self, wanted: Wanted) -> dict[str, Any]:
        reads, given = self._sources.reads, wanted.given
        if reads is None or given is None:
            return {}

        def read(store: IAuditStore) -> Any:
            # The stream begins after this number: a record that is written now is on the page, in the stream, or both.
            return store.last_seq(), list(store.search(given, wanted.limit))

        seq, records = await reads.call(read)
        rows, older = wanted.page_of(records)
        return {"seq": seq, "rows": rows, "older": older}

    def _follow(self, visit: Visit) -> EventStream:
        feed, wanted = self._feed, self._wanted(visit)
        given = wanted.given
        if feed is None:
            raise Refused(HTTPStatus.NOT_FOUND, "The proxy has no audit store.")
        if given is None:
            raise Refused(HTTPStatus.BAD_REQUEST, wanted.error)
        if feed.is_full:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "Too many browsers follow the decisions.")
        after = parse_seq(visit.parameter("after"))
        return EventStream(lambda sink: feed.join(sink, wanted.text, given, after, visit.continues))

    def _wanted(self, visit: Visit) -> Wanted:
        return Wanted.parse(visit.parameter("q"), visit.parameter("before"), self._sources.wall_clock())


def _routes(sources: ConsoleSources) -> Sequence[Route]:
    return LivePage(sources).routes()


PAGE = Page(name="live", title="Live", order=10, routes=_routes, examples=("/live", "/live?q=verdict:deny"))
