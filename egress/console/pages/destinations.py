"""The Destinations page: the hosts that clients contact, and the paths of one host."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from egress.console.destinations_view import Wanted, filter_text, host_filter, live_link, paths_of, row_of
from egress.console.page import Html, Page, Refused, Route, Visit
from egress.console.paths import with_query
from egress.console.sources import ConsoleSources
from egress.store import destinations
from egress.store.interfaces import StoreError

_PARAMETERS = ("q", "range", "sort", "dir", "new", "page")


class DestinationsPage:
    """The routes of the page.

    @param sources: the data.
    """

    def __init__(self, sources: ConsoleSources) -> None:
        self._sources = sources

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (Route("GET", "/destinations", self._list), Route("GET", "/destinations/<host>", self._show))

    def _wanted(self, visit: Visit) -> Wanted:
        parameters = {name: visit.parameter(name) for name in _PARAMETERS}
        return Wanted.parse(visit.path, parameters, self._sources.wall_clock())

    async def _list(self, visit: Visit) -> Html:
        wanted, reads = self._wanted(visit), self._sources.reads
        given, now = wanted.given, wanted.now
        values: dict[str, Any] = {"wanted": wanted, "found": None, "has_store": reads is not None, "store_error": ""}
        if reads is not None and given is not None:
            try:
                found = await reads.call(lambda store: store.destinations(given, wanted.rows, now))
            except StoreError as error:
                values["store_error"] = str(error)
            else:
                before, after = wanted.pages(found)
                values.update(found=found, rows=[row_of(each, now) for each in found.rows], before=before, after=after)
        return Html("destinations.html", {**values, "max_records": destinations.MAX_RECORDS})

    async def _show(self, visit: Visit) -> Html:
        wanted, reads = self._wanted(visit), self._sources.reads
        host, given, now = visit.arguments["host"], wanted.given, wanted.now
        if reads is None:
            raise Refused(HTTPStatus.NOT_FOUND, "The proxy has no audit store.")
        values: dict[str, Any] = {"wanted": wanted, "host": host, "row": None, "paths": None, "store_error": ""}
        if given is not None:
            chosen = host_filter(host, given)

            def read(store: Any) -> Any:
                # Grouping the paths takes time, too.
                paths = paths_of(host, store.paths(host, given), now)
                return store.destinations(chosen, destinations.Page(limit=1), now), paths

            try:
                found, values["paths"] = await reads.call(read)
            except StoreError as error:
                values["store_error"] = str(error)
            else:
                values["row"] = row_of(found.rows[0], now) if found.rows else None
        values["live"] = live_link(("host", host))
        values["all"] = with_query(visit.path, range="all")
        values["condition"] = filter_text(("host", host))
        return Html("destination.html", {**values, "title": host, "max_records": destinations.MAX_OF_HOST})


def _routes(sources: ConsoleSources) -> Sequence[Route]:
    return DestinationsPage(sources).routes()


PAGE = Page(
    name="destinations",
    title="Destinations",
    order=40,
    routes=_routes,
    examples=("/destinations", "/destinations?range=all&sort=duration", "/destinations/none.example?range=all"),
)
