"""The site of the console: checks each request, finds its route, and renders the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from egress import __version__
from egress.admin.changes import actor_of
from egress.admin.host_check import is_known_host
from egress.console import security
from egress.console.events import EventResponse
from egress.console.forms import MAX_FORM, InvalidForm, parse_query
from egress.console.page import ROOT, Download, EventStream, Html, Page, Redirect, Refused, Result, Route, Visit
from egress.console.registry import all_pages
from egress.console.rendering import Renderer
from egress.console.responses import (
    finish,
    is_lost,
    not_found,
    prepare,
    read_form,
    redirect,
    session_ids,
    text_of,
    values_of,
)
from egress.console.routing import application
from egress.console.sessions import Session, Sessions
from egress.console.sign_in import SIGN_IN, START, SignIn
from egress.console.sources import ConsoleSources
from egress.console.throttle import Throttle
from egress.model.quote import quoted

_log = Logger()

_METHODS: Final = (b"GET", b"HEAD", b"POST")
_SIGN_OUT: Final = f"{ROOT}/sign-out"
_MAX_SIGN_IN: Final = 8192
_COUNT_SECONDS: Final = 1.0
_CACHED: Final = "public, max-age=31536000, immutable"
_NOT_SIGNED_IN: Final = "Your session has ended. Sign in again."


class ConsoleResource(Resource):
    """Serves every path of the console.

    @param sources: the data.
    @param sessions: the sessions.
    @param hosts: the names by which browsers reach the console, in addition to localhost.
    @param pages: the pages; C{None}: all.
    """

    isLeaf = True

    def __init__(
        self,
        sources: ConsoleSources,
        sessions: Sessions,
        hosts: Sequence[str] = (),
        pages: Sequence[Page] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sources = sources
        self._sessions = sessions
        self._hosts = hosts
        self._pages = tuple(all_pages() if pages is None else pages)
        self._renderer = Renderer()
        self._sign_in = SignIn(sessions, Throttle(sources.clock.callLater), self._page)
        self._routed = application(self._pages, sources, self._respond, self._not_routed).resource()

    # -- the checks

    def content_limit(self, request: Request) -> int:
        """Return how much content of a request is stored, by its head: nothing without a session."""
        if not self._is_known_host(request):
            return 0
        if self._session(request) is not None:
            return MAX_FORM
        return _MAX_SIGN_IN if request.path == SIGN_IN.encode() else 0

    def knows(self, request: Request) -> bool:
        """Return whether the client has signed in."""
        return self._is_known_host(request) and self._session(request) is not None

    def make_link(self, role: str) -> dict[str, Any]:
        """Make a path with which one browser can sign in, as C{admin} or C{viewer}."""
        return self._sign_in.make_link(role)

    def _is_known_host(self, request: Request) -> bool:
        return is_known_host(values_of(request, "host"), self._hosts)

    def _session(self, request: Request) -> Session | None:
        for identifier in session_ids(request):
            session = self._sessions.find(identifier)
            if session is not None:
                return session
        return None

    def render(self, request: Request) -> int:
        """Respond to one request (C{twisted.web.resource.IResource.render})."""
        for name, value in (("Server", f"egressproxy/{__version__}"), *security.FIELDS):
            request.responseHeaders.setRawHeaders(name, [value])
        try:
            self._check(request)
            self._dispatch(request)
        except Exception:  # noqa: BLE001 - the visitor sees no traceback
            finish(request, self._error(request, None, Failure()))  # type: ignore[no-untyped-call]
        return NOT_DONE_YET

    def _check(self, request: Request) -> None:
        """Check what no page of another site may send."""
        if not self._is_known_host(request):
            raise Refused(
                HTTPStatus.MISDIRECTED_REQUEST,
                "The console does not know this host name. Use localhost, or start the proxy with --admin-host NAME.",
            )
        if request.method not in _METHODS:
            request.responseHeaders.setRawHeaders("Allow", ["GET, HEAD, POST"])
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Use GET or POST.")
        sites = values_of(request, "sec-fetch-site")
        if request.method == b"POST":
            if not security.is_own_origin(values_of(request, "host")[0], values_of(request, "origin"), sites):
                raise Refused(HTTPStatus.FORBIDDEN, "Only a page of the console can send this form.")
        elif security.is_foreign_read(sites, values_of(request, "sec-fetch-dest")):
            raise Refused(HTTPStatus.FORBIDDEN, "A page of another site cannot embed the console.")

    def _dispatch(self, request: Request) -> None:
        path = text_of(request.path)
        file = self._renderer.static.get(path)
        if file is not None and request.method != b"POST":
            finish(request, prepare(request, HTTPStatus.OK, file.content, file.media_type, cache=_CACHED))
        elif path == SIGN_IN:
            if request.method == b"POST":
                self._sign_in.sign_in(request)
            else:
                self._sign_in.show(request)
        elif path in ("/", ROOT, f"{ROOT}/"):
            finish(request, redirect(request, START))
        else:
            self._route(request, path)

    def _route(self, request: Request, path: str) -> None:
        session = self._session(request)
        if session is None:
            if request.method == b"POST" or _accepts_events(request):
                raise Refused(HTTPStatus.UNAUTHORIZED, _NOT_SIGNED_IN)
            back = "" if path == START else f"?next={quote(text_of(request.uri), safe='')}"
            finish(request, redirect(request, SIGN_IN + back))
        elif path == _SIGN_OUT and request.method == b"POST":
            _form(request, session, changes=False)
            self._sign_in.sign_out(request)
        else:
            self._routed.render(request)

    def _respond(self, route: Route, page: Page, request: Request, **arguments: str) -> Deferred[object]:
        """Respond to a request for a route; klein calls this."""
        session = self._session(request)
        assert session is not None  # _route() found it in the same turn
        visit = Visit(
            session=session,
            path=text_of(request.path),
            query=parse_query(request.uri),
            form=_form(request, session, route.changes) if request.method == b"POST" else {},
            arguments=arguments,
            actor=actor_of(request, session.role.value, "console"),
            continues=partial(self._sessions.touch, session),
        )
        result = maybeDeferred(_awaited, route.respond, visit)
        return result.addCallback(self._show, request, visit, page)

    # -- results

    def _show(self, result: Result, request: Request, visit: Visit, page: Page | None) -> object:
        """Prepare the response, and return its content for klein, which sends it."""
        if isinstance(result, Redirect):
            return redirect(request, result.path)
        if isinstance(result, Download):
            if result.filename is not None:
                name = f'attachment; filename="{quote(result.filename, safe=" ")}"'
                request.responseHeaders.setRawHeaders("Content-Disposition", [name])
            return prepare(request, HTTPStatus.OK, result.content, result.media_type)
        if isinstance(result, EventStream):
            return EventResponse(request).begin(result)
        return self._navigation(page).addCallback(partial(self._show_page, result, request, visit.session, page))

    def _navigation(self, current: Page | None) -> Deferred[list[dict[str, Any]]]:
        """Return the entries of the navigation, with the numbers that are known within a second."""
        shown = [page for page in self._pages if page.order is not None]

        def counted(results: list[tuple[bool, Any]]) -> list[dict[str, Any]]:
            return [
                {"title": page.title, "path": page.path, "name": page.name, "current": page is current, "count": count}
                for page, (_, count) in zip(shown, results, strict=True)
            ]

        counts = [self._count(page).addErrback(lambda _: None) for page in shown]
        return DeferredList(counts).addCallback(counted)

    def _count(self, page: Page) -> Deferred[Any]:
        if page.count is None:
            return succeed(None)
        return maybeDeferred(page.count, self._sources).addTimeout(_COUNT_SECONDS, self._sources.clock)

    def _show_page(
        self, result: Html, request: Request, session: Session, page: Page | None, navigation: list[dict[str, Any]]
    ) -> bytes:
        values = {
            "title": "Error" if page is None else page.title,
            "navigation": navigation,
            "csrf": session.csrf,
            "may_change": session.may_change,
            "role": session.role.value,
            **result.values,
        }
        return self._page(request, result.status, result.template, values)

    def _page(self, request: Request, status: HTTPStatus, template: str, values: Mapping[str, Any]) -> bytes:
        return prepare(request, status, self._renderer.render(template, values), "text/html; charset=utf-8")

    # -- errors

    def _not_routed(self, request: Request, failure: Failure) -> bytes:
        """Respond to a request that has no route, or whose route failed; klein calls this."""
        from werkzeug.exceptions import HTTPException, MethodNotAllowed  # noqa: PLC0415 - with klein

        error = failure.value
        if isinstance(error, MethodNotAllowed):
            request.responseHeaders.setRawHeaders("Allow", [", ".join(sorted(error.valid_methods or ()))])
            text = "This page does not accept the method of the request."
            failure = Failure(Refused(HTTPStatus.METHOD_NOT_ALLOWED, text))  # type: ignore[no-untyped-call]
        elif isinstance(error, HTTPException):
            failure = Failure(not_found())  # type: ignore[no-untyped-call]
        return self._error(request, self._session(request), failure)

    def _error(self, request: Request, session: Session | None, failure: Failure) -> bytes:
        """Make the page of an error."""
        error = failure.value
        if isinstance(error, Refused):
            return self._refuse(request, session, error)
        if isinstance(error, InvalidForm):
            return self._refuse(request, session, Refused(HTTPStatus.BAD_REQUEST, str(error)))
        if isinstance(error, CancelledError) and is_lost(request):
            return b""
        _log.failure("console request for {path} failed", failure, path=quoted(request.path))
        text = "The console failed to make this page. The log of the proxy has the details."
        return self._refuse(request, session, Refused(HTTPStatus.INTERNAL_SERVER_ERROR, text))

    def _refuse(self, request: Request, session: Session | None, refused: Refused) -> bytes:
        navigation = [
            {"title": page.title, "path": page.path, "name": page.name, "current": False, "count": None}
            for page in self._pages
            if page.order is not None
        ]
        values = {
            "title": refused.status.phrase,
            "status": refused.status.value,
            "text": refused.text,
            "sign_in": refused.status is HTTPStatus.UNAUTHORIZED,
            "navigation": [] if session is None else navigation,
            "csrf": "" if session is None else session.csrf,
            "may_change": False,
            "role": None if session is None else session.role.value,
        }
        return self._page(request, refused.status, "error.html", values)


def _awaited(respond: Callable[[Visit], Any], visit: Visit) -> Any:
    """Call a function that may be a coroutine."""
    result = respond(visit)
    return Deferred.fromCoroutine(result) if hasattr(result, "send") else result


def _accepts_events(request: Request) -> bool:
    return any(b"text/event-stream" in value for value in values_of(request, "accept"))


def _form(request: Request, session: Session, changes: bool) -> Mapping[str, Sequence[str]]:
    """Return the form of a request.

    @param changes: whether the request changes something.
    @raise Refused: if the form is not from the session, or if the session may not change anything.
    """
    form = read_form(request)
    if not security.is_own_form(session.csrf, form.get(security.FORM_FIELD, ())):
        raise Refused(HTTPStatus.FORBIDDEN, "The form is not from this session. Reload the page, and try again.")
    if changes and not session.may_change:
        raise Refused(HTTPStatus.FORBIDDEN, "You are signed in as a viewer, who cannot change anything.")
    return form
