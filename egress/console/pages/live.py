"""The Live page: the newest decisions, and older ones by a filter."""

from __future__ import annotations

from collections.abc import Sequence

from egress.console.live_view import Wanted, link_to
from egress.console.page import Html, Page, Route, Visit
from egress.console.sources import ConsoleSources
from egress.store.interfaces import StoreError


class LivePage:
    """The routes of the page.

    @param sources: the data.
    """

    def __init__(self, sources: ConsoleSources) -> None:
        self._sources = sources

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (Route("GET", "/live", self._show),)

    async def _show(self, visit: Visit) -> Html:
        wanted = Wanted.parse(visit.parameter("q"), visit.parameter("before"), self._sources.wall_clock())
        reads = self._sources.reads
        values = {"wanted": wanted, "rows": [], "older": None, "has_store": reads is not None, "store_error": ""}
        if reads is not None and wanted.given is not None:
            try:
                records = await reads.search(wanted.given, wanted.limit)
            except StoreError as error:
                values["store_error"] = str(error)
            else:
                values["rows"], values["older"] = wanted.page_of(records)
        values["newest"] = None if wanted.before is None else link_to(wanted.text)
        return Html("live.html", values)


def _routes(sources: ConsoleSources) -> Sequence[Route]:
    return LivePage(sources).routes()


PAGE = Page(name="live", title="Live", order=10, routes=_routes, examples=("/live", "/live?q=verdict:deny"))
