"""The Health page: readiness checks, and charts of the last hour and day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from egress.console.health_view import charts_of, checks_of, spans, tiles_of
from egress.console.page import Html, Page, Route, Visit
from egress.console.sources import ConsoleSources

_SPANS: Final = ("hour", "day")


class HealthPage:
    """The route of the page.

    @param sources: the data.
    """

    def __init__(self, sources: ConsoleSources) -> None:
        self._sources = sources

    def routes(self) -> Sequence[Route]:
        """Return the route."""
        return (Route("GET", "/health", self._show),)

    async def _show(self, visit: Visit) -> Html:
        await self._sources.update_history()
        now, history = self._sources.wall_clock(), self._sources.history
        span = visit.parameter("span", _SPANS[0])
        span = span if span in _SPANS else _SPANS[0]
        checks = checks_of(await self._sources.checks())
        values = {
            "checks": checks,
            "is_ready": all(check.is_ok for check in checks),
            "tiles": tiles_of(history, now),
            "charts": charts_of(history, span, now),
            "spans": spans(visit.path, span),
        }
        return Html("health.html", values)


def _routes(sources: ConsoleSources) -> Sequence[Route]:
    return HealthPage(sources).routes()


PAGE = Page(name="health", title="Health", order=60, routes=_routes, examples=("/health", "/health?span=day"))
