"""The page of one request."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from egress.admin.api import Unanswered
from egress.console.page import Html, Page, Refused, Route, Visit
from egress.console.policy_reader import PolicyReader
from egress.console.request_view import WIDTH, DecidingRule, RequestView, rule_link
from egress.console.sources import ConsoleSources
from egress.policy.parse.load import PolicyError
from egress.store.filter_language import Condition, Equals, Filter
from egress.store.interfaces import StoreError


class RequestPage:
    """The routes of the page.

    @param sources: the data.
    """

    def __init__(self, sources: ConsoleSources) -> None:
        self._sources = sources
        self._reader = PolicyReader(sources)

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (Route("GET", "/requests/<identifier>", self._show),)

    async def _show(self, visit: Visit) -> Html:
        identifier, reads = visit.arguments["identifier"], self._sources.reads
        if reads is None:
            raise Refused(
                HTTPStatus.NOT_FOUND, "The proxy has no audit store. Start it with --audit-store sqlite:FILE."
            )
        try:
            records = await reads.search(Filter(conditions=(Condition("id", (Equals(identifier),)),)), 1)
        except StoreError as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"The audit store cannot be read: {error}") from error
        if not records:
            raise Refused(
                HTTPStatus.NOT_FOUND,
                "The audit store has no request with this id. It may be too old, or not be finished.",
            )
        view = RequestView.of(records[0])
        has_policy = self._sources.policy_file is not None
        return Html(
            "request.html",
            {
                "title": f"{view.method} {view.url}",
                "view": view,
                "rule": None if view.rule is None else await self._rule(view.rule),
                "width": WIDTH,
                "new_rule": rule_link(view.id) if has_policy and visit.may_change and not view.is_change else "",
                "can_try": view.can_be_tried,
            },
        )

    async def _rule(self, rule_id: str) -> DecidingRule | None:
        """Return the rule as the policy has it now; C{None} if that is not known."""
        try:
            state = await self._reader.state()
        except (Unanswered, PolicyError):
            return None
        if state is None:
            return None
        rules = state.rules
        return await self._sources.in_thread(lambda: DecidingRule.find(rules, rule_id))


def _routes(sources: ConsoleSources) -> Sequence[Route]:
    return RequestPage(sources).routes()


PAGE = Page(name="requests", title="Request", routes=_routes, examples=("/requests/example",))
