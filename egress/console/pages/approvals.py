"""The Approvals page: pending approvals, and grants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from egress.admin.api import Unanswered
from egress.admin.changes import answer_approval, revoke_grant, uncancelled
from egress.console.approvals_view import TIMES, ApprovalsView, answer_of, notice_of
from egress.console.page import ROOT, EventSink, EventStream, Html, Page, Redirect, Refused, Route, Visit
from egress.console.sources import ConsoleSources
from egress.model.approval import InvalidApprovalAnswer

_log = Logger()

MAX_FOLLOWERS: Final = 16
"""The maximum number of browsers that follow the page; others show it without updates."""

_EVERY: Final = 1.0
_PATH: Final = f"{ROOT}/approvals"


class ApprovalsPage:
    """The routes of the page.

    @param sources: the data.
    """

    def __init__(self, sources: ConsoleSources) -> None:
        self._sources = sources
        self._followers = 0

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return (
            Route("GET", "/approvals", self._show),
            Route("GET", "/approvals/events", self._events),
            Route("POST", "/approvals/<name>", self._answer),
            Route("POST", "/approvals/grants/<name>", self._revoke),
        )

    async def _view(self) -> ApprovalsView:
        return ApprovalsView.of(await self._sources.backend.listed(), self._sources.wall_clock())

    async def _show(self, visit: Visit) -> Html:
        view = await self._view()
        notice = notice_of(visit.parameter("done"), visit.parameter("id"), visit.parameter("n"))
        timeout = self._sources.config.approval_timeout
        return Html("approvals.html", {"view": view, "notice": notice, "times": TIMES, "timeout": timeout})

    async def _answer(self, visit: Visit) -> Redirect:
        name = visit.arguments["name"]
        fields = [visit.field(field) for field in ("answer", "for", "reason", "by")]
        try:
            answer = answer_of(*fields)
        except InvalidApprovalAnswer as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{_sentence(str(error))}.") from error
        found = await uncancelled(answer_approval(self._sources.backend, name, answer, visit.actor))
        number = found["resolved"]
        if number == 0:
            return _back("gone", name)
        _log.info(
            "{who} {verdict} pending approval {subject} in the console",
            who=answer.who,
            verdict="allows" if answer.allow else "denies",
            subject=name,
        )
        if not answer.allow:
            return _back("denied", name, number)
        return _back("allowed" if answer.seconds is None else "granted", name, number)

    async def _revoke(self, visit: Visit) -> Redirect:
        name = visit.arguments["name"]
        try:
            existed = await uncancelled(revoke_grant(self._sources.backend, name, visit.actor))
        except Unanswered as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"{_sentence(str(error))}.") from error
        if existed:
            _log.info("grant {name} is revoked in the console", name=name)
        return _back("revoked" if existed else "no-grant", name)

    def _events(self, visit: Visit) -> EventStream:
        """Send an event when the entries of the page change, while the session continues.

        @raise Refused: if too many browsers follow the page.
        """
        if self._followers >= MAX_FOLLOWERS:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "Too many browsers follow the approvals. Reload the page.")

        def begin(sink: EventSink) -> Callable[[], None]:
            last: list[str] = []
            self._followers += 1

            async def look() -> None:
                if not visit.continues():
                    sink.end()
                    return
                view = await self._view()
                if last != [view.version] and sink.is_writable:
                    sink.send("approvals", view.version)
                    last[:] = [view.version]

            def stopped(failure: Failure) -> None:
                _log.failure("pending approvals are no longer watched", failure)
                sink.end()

            loop = LoopingCall(lambda: Deferred.fromCoroutine(look()))
            loop.clock = self._sources.clock
            loop.start(_EVERY).addErrback(stopped)

            def end() -> None:
                self._followers -= 1
                if loop.running:
                    loop.stop()

            return end

        return EventStream(begin)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _back(done: str, name: str, number: int | None = None) -> Redirect:
    more = {} if number is None else {"n": number}
    return Redirect(f"{_PATH}?{urlencode({'done': done, 'id': name, **more})}")


def _routes(sources: ConsoleSources) -> Sequence[Route]:
    return ApprovalsPage(sources).routes()


def _count(sources: ConsoleSources) -> Deferred[int]:
    def number(listed: Any) -> int:
        return len(listed["pending"])

    return sources.backend.listed().addCallback(number)


PAGE = Page(name="approvals", title="Approvals", order=20, routes=_routes, count=_count, examples=("/approvals",))
