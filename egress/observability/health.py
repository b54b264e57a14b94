"""The site with C{/metrics} and C{/health}, on a port of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from egress import __version__
from egress.model.errors import EgressError
from egress.model.quote import quoted
from egress.observability.metrics import Metrics
from egress.transport.bounded_http import BoundedSite, ChannelBounds

_log = Logger()

T = TypeVar("T")

Page = tuple[bytes, str]
"""Content and its media type."""

Reply = tuple[HTTPStatus, bytes, str]
"""A status code, and content with its media type."""

Routes = Mapping[bytes, Callable[[Request], "Deferred[Reply]"]]
"""Further pages, by path."""

Check = Callable[[], "Deferred[Any]"]
"""A readiness check: fires when the proxy is ready in this respect, with a text as a note; fails when it is not."""

_DEADLINE: Final = 5.0
OK: Final = "ok"
_NOTE: Final = f"{OK}: "
STOPPING: Final = "the proxy is stopping, and accepts no connections"
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"


def is_ok(result: str) -> bool:
    """Whether a check has passed, with or without a note."""
    return result == OK or result.startswith(_NOTE)


def passed(note: object) -> str:
    """Return the result of a check that has passed, with its note if it is a text."""
    return f"{_NOTE}{note}" if isinstance(note, str) else OK


class NotReady(Exception):
    """A readiness check failed; the text is the reason and is shown to the client."""


class Coalesced(Generic[T]):
    """Coalesces concurrent calls: calls that arrive during a call share its result, so frequent calls cost no more.

    @param function: makes the call; its Deferred fires within bounded time.
    """

    def __init__(self, function: Callable[[], Deferred[T]]) -> None:
        self._function = function
        self._running = False
        self._waiting: list[Deferred[T]] = []

    def call(self) -> Deferred[T]:
        """Make the call, or join the one in progress.

        @return: fires with the result.  Cancelling it does not cancel the call.
        """
        waiting: Deferred[T] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        if not self._running:
            self._running = True
            self._function().addBoth(self._done)
        return waiting

    def _done(self, result: T | Failure) -> None:
        self._running = False
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(result)


class Readiness:
    """Runs the named readiness checks.

    @param deadline: seconds for each check.
    """

    def __init__(self, clock: IReactorTime, checks: Mapping[str, Check], deadline: float = _DEADLINE) -> None:
        self._clock = clock
        self._checks = dict(checks)
        self._deadline = deadline
        self._shared = Coalesced(self._run_all)

    def run(self) -> Deferred[dict[str, str]]:
        """Run the checks, or join the run in progress.

        @return: fires with the result of each check: C{"ok"}, C{"ok: "} with a note, or the reason why it failed.
            Cancelling it does not cancel the checks, which end by their deadline.
        """
        return self._shared.call()

    def _run_all(self) -> Deferred[dict[str, str]]:
        return DeferredList([self._run(name) for name in self._checks]).addCallback(self._found)

    def _run(self, name: str) -> Deferred[str]:
        check = maybeDeferred(self._checks[name])
        check.addTimeout(self._deadline, self._clock)
        return check.addCallbacks(passed, lambda failure: self._reason(name, failure))

    def _reason(self, name: str, failure: Failure) -> str:
        if isinstance(failure.value, EgressError):
            return failure.value.reason
        if isinstance(failure.value, NotReady):
            return str(failure.value)
        if isinstance(failure.value, (defer.TimeoutError, CancelledError)):
            return f"no result within {self._deadline:g} seconds"
        _log.failure("the health check {name} failed", failure, name=name)
        # The text of an unexpected error may contain details that clients must not see; the log has it.
        return f"failed with {type(failure.value).__name__}"

    def _found(self, results: list[tuple[bool, Any]]) -> dict[str, str]:
        return {name: reason for name, (_, reason) in zip(self._checks, results, strict=True)}


class OpsResource(Resource):
    """Serves every path of the site; an error response has one sentence of text.

    @param metrics: renders the page with the metrics.
    @param checks: runs the readiness checks.
    @param routes: further pages.
    """

    isLeaf = True

    def __init__(
        self,
        metrics: Callable[[], Page | Deferred[Page]],
        checks: Callable[[], Deferred[dict[str, str]]],
        routes: Routes,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._metrics = metrics
        self._checks = checks
        self._pages: dict[bytes, Callable[[Request], None]] = {
            b"/metrics": self._render_metrics,
            b"/health/live": self._render_live,
            b"/health/ready": self._render_ready,
            **{path: partial(self._render, page) for path, page in routes.items()},
        }

    def render(self, request: Request) -> int:
        """Respond to one request (C{twisted.web.resource.IResource.render})."""
        page = self._pages.get(request.path)
        if page is None:
            paths = ", ".join(path.decode("ascii") for path in self._pages)
            _respond(request, HTTPStatus.NOT_FOUND, f"Not found. The paths are {paths}.\n".encode())
        elif request.method not in (b"GET", b"HEAD"):
            request.responseHeaders.setRawHeaders("Allow", ["GET, HEAD"])
            _respond(request, HTTPStatus.METHOD_NOT_ALLOWED, b"Use GET or HEAD.\n")
        else:
            page(request)
        return NOT_DONE_YET

    def _render_metrics(self, request: Request) -> None:
        self._wait_for(request, maybeDeferred(self._metrics), lambda page: _respond(request, HTTPStatus.OK, *page))

    def _render(self, page: Callable[[Request], Deferred[Reply]], request: Request) -> None:
        self._wait_for(request, maybeDeferred(page, request), lambda reply: _respond(request, *reply))

    def _render_live(self, request: Request) -> None:
        _respond_json(request, HTTPStatus.OK, {"status": "live"})

    def _render_ready(self, request: Request) -> None:
        def respond(found: dict[str, str]) -> None:
            ready = all(map(is_ok, found.values()))
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            _respond_json(request, status, {"status": "ready" if ready else "not ready", "checks": found})

        self._wait_for(request, self._checks(), respond)

    def _wait_for(self, request: Request, result: Deferred[T], respond: Callable[[T], None]) -> None:
        def failed(failure: Failure) -> None:
            if not failure.check(CancelledError):  # type: ignore[no-untyped-call]
                _log.failure("the request for {path} failed", failure, path=quoted(request.path))
                _respond(request, HTTPStatus.INTERNAL_SERVER_ERROR, b"The request failed; the log has the details.\n")

        # When the client disconnects meanwhile, there is no connection to respond on.
        request.notifyFinish().addErrback(lambda _: result.cancel())
        result.addCallbacks(respond, failed)


def _respond_json(request: Request, status: HTTPStatus, document: object) -> None:
    _respond(request, status, json.dumps(document).encode("ascii") + b"\n", _JSON)


def _respond(request: Request, status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> None:
    request.setResponseCode(status)
    for name, value in (
        ("Server", f"egressproxy/{__version__}"),
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ):
        request.responseHeaders.setRawHeaders(name, [value])
    request.write(b"" if request.method == b"HEAD" else body)  # type: ignore[no-untyped-call]
    request.finish()  # type: ignore[no-untyped-call]


class OpsRequest(Request):
    """A request whose content is discarded as it arrives, not stored in memory or on disk."""

    def handleContentChunk(self, data: bytes) -> None:
        """Discard a piece of the content (C{twisted.web.iweb.IRequest})."""


def ops_site(
    reactor: IReactorTime,
    metrics: Metrics,
    checks: Mapping[str, Check],
    routes: Routes = MappingProxyType({}),
    deadline: float = _DEADLINE,
) -> Site:
    """Make the site for C{/metrics}, C{/health/live} and C{/health/ready}.

    @param reactor: the reactor.
    @param metrics: the metrics.
    @param checks: the readiness checks, by name.
    @param routes: further pages.
    @param deadline: seconds for each check.
    """
    return ops_site_of(reactor, metrics.render, Readiness(reactor, checks, deadline).run, routes)


def ops_site_of(
    reactor: IReactorTime,
    metrics: Callable[[], Page | Deferred[Page]],
    checks: Callable[[], Deferred[dict[str, str]]],
    routes: Routes = MappingProxyType({}),
) -> Site:
    """Make the same site with another source of metrics and checks.

    @param reactor: the reactor.
    @param metrics: renders the page with the metrics.
    @param checks: runs the checks: fires with the result of each, C{"ok"} or the reason why it failed.
    @param routes: further pages.
    """
    root = OpsResource(metrics, checks, routes)
    return BoundedSite(reactor, ChannelBounds(), root, OpsRequest)
