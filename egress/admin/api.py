"""The admin API: pending approvals, grants, revocations, and explanations of requests that are not sent.

A client of the API can allow requests, so it listens on a UNIX socket or requires a token, and rejects requests from
pages in a browser.
"""

from __future__ import annotations

import hmac
import json
import os
import time
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final, Protocol, cast

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from egress import __version__
from egress.admin.changes import actor_of, answer_approval, revoke_decisions, revoke_grant, uncancelled
from egress.admin.host_check import is_known_host
from egress.model.approval import ApprovalAnswer, InvalidApprovalAnswer
from egress.model.change import Change
from egress.model.explanation import MAX_BODY, ExplainRequest, InvalidExplainRequest
from egress.model.quote import quoted
from egress.model.revocation import InvalidRevocation, Revocation, RevocationCounts
from egress.transport.bounded_http import BoundedChannel, BoundedSite, ChannelBounds

_log = Logger()

MAX_CONNECTIONS: Final = 64
"""The connection limit, more than concurrent approvers and programs need."""
# The largest explain request: the longest content in base64, and its head.
_MAX_CONTENT: Final = MAX_BODY * 4 // 3 + 512 * 1024
_APPROVALS: Final = b"/approvals"
_EXPLAIN: Final = b"/explain"
_REVOCATIONS: Final = b"/revocations"
_SESSIONS: Final = b"/console-sessions"
_CONSOLE: Final = b"/console"
_ADMIN: Final = "admin"
_PLACE: Final = "admin API"
_ID_BYTES: Final = 8


class Unanswered(Exception):
    """The API cannot fulfil a request now; the text is the reason."""


class AdminBackend(Protocol):
    """The operations of the admin API, independent of the number of processes."""

    def listed(self) -> Deferred[dict[str, Any]]:
        """List the pending approvals and the grants."""

    def answer(self, approval_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Resolve a pending approval.

        @return: fires with C{{"resolved": N, "grant": ...}}; N is the number of requests that this resolved.
        """

    def revoke(self, grant_id: str) -> Deferred[bool]:
        """Revoke a grant.

        @return: fires with whether it existed; fails with L{Unanswered} when a process did not confirm.
        """

    def revoke_decisions(self, revocation: Revocation) -> Deferred[RevocationCounts]:
        """Void decisions, and end what runs because of them.

        @return: fires with the counts; fails with L{Unanswered} when a process did not confirm.
        """

    def explain(self, question: ExplainRequest) -> Deferred[dict[str, Any]]:
        """Explain what the proxy would do with a request."""

    def record(self, change: Change) -> None:
        """Write the audit record of a change."""


class Console(Protocol):
    """The web console, which serves the other paths of the site."""

    def render(self, request: Request) -> int:
        """Respond to one request."""

    def knows(self, request: Request) -> bool:
        """Return whether the client has signed in."""

    def content_limit(self, request: Request) -> int:
        """Return how much content of a request is stored, by its head."""

    def make_link(self, role: str) -> dict[str, Any]:
        """Make a path with which one browser can sign in as C{admin} or C{viewer}."""


class _ErrorResponse(Exception):
    """The error response to an invalid request."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class AdminResource(Resource):
    """Serves every path of the site.

    @param token: the bearer token of clients; C{None}: the mode of the UNIX socket restricts access.
    @param console: the web console, if there is one.
    """

    isLeaf = True

    def __init__(self, backend: AdminBackend, token: str | None, console: Console | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._backend = backend
        self._console = console
        self._token = None if token is None else f"Bearer {token}".encode()

    def render(self, request: Request) -> int:
        """Respond to one request (C{twisted.web.resource.IResource.render})."""
        if self._console is not None and _is_of_console(request):
            return self._console.render(request)
        try:
            self._authorize(request)
            result = self._dispatch(request)
        except _ErrorResponse as error_response:
            _reject(request, error_response)
            return NOT_DONE_YET
        self._wait_for(request, result)
        return NOT_DONE_YET

    def knows(self, request: Request) -> bool:
        """Return whether the client is authorized, by the head of the request."""
        if self._console is not None and _is_of_console(request):
            return self._console.knows(request)
        if self._token is None:
            return True
        shown = request.requestHeaders.getRawHeaders(b"authorization", [])
        return len(shown) == 1 and hmac.compare_digest(shown[0], self._token)

    def content_limit(self, request: Request) -> int:
        """Return how much content of a request is stored, by its head."""
        if self._console is not None and _is_of_console(request):
            return self._console.content_limit(request)
        return _MAX_CONTENT if self.knows(request) else 0

    def _authorize(self, request: Request) -> None:
        """Reject clients without the token, and all pages in a browser."""
        headers = request.requestHeaders
        if not self.knows(request):
            raise _ErrorResponse(
                HTTPStatus.UNAUTHORIZED, "send the token of --admin-token-file as Authorization: Bearer TOKEN"
            )
        if headers.hasHeader(b"origin") or headers.hasHeader(b"sec-fetch-site"):
            raise _ErrorResponse(HTTPStatus.FORBIDDEN, "requests from web pages are not accepted")
        if self._token is None and not is_known_host(headers.getRawHeaders(b"host", [])):
            # A page that reaches a forwarded socket by DNS rebinding: its requests can lack the other fields.
            raise _ErrorResponse(HTTPStatus.FORBIDDEN, "use the host localhost, as in http://localhost/approvals")

    def _dispatch(self, request: Request) -> Deferred[dict[str, Any]]:
        method, path = request.method, request.path
        if path == _APPROVALS:
            _expect(request, b"GET")
            return maybeDeferred(self._backend.listed)
        if path.startswith(_APPROVALS + b"/"):
            name = path[len(_APPROVALS) + 1 :].decode("ascii", "replace")
            if method == b"DELETE":
                return self._revoke(request, name)
            _expect(request, b"POST", b"DELETE")
            return self._resolve(request, name, _parsed(request, ApprovalAnswer.parse))
        if path == _REVOCATIONS:
            _expect(request, b"POST")
            return self._revoke_decisions(request, _parsed(request, _revocation))
        if path == _EXPLAIN:
            _expect(request, b"POST")
            explain_request = _parsed(request, ExplainRequest.parse)
            return maybeDeferred(self._backend.explain, explain_request)
        if path == _SESSIONS and self._console is not None:
            _expect(request, b"POST")
            return succeed(self._console.make_link(_parsed(request, _role)))
        raise _ErrorResponse(HTTPStatus.NOT_FOUND, "use /approvals, /approvals/ID, /revocations or /explain")

    def _resolve(self, request: Request, name: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        def answered(found: dict[str, Any]) -> dict[str, Any]:
            if found["resolved"] == 0:
                raise _ErrorResponse(
                    HTTPStatus.NOT_FOUND,
                    "no pending approval with this id (already allowed, denied, revoked, or expired)",
                )
            _log.info(
                "{who} {verdict} pending approval {subject}",
                who=answer.who,
                verdict="allows" if answer.allow else "denies",
                subject=name,
            )
            return found

        actor = actor_of(request, _ADMIN, _PLACE)
        return uncancelled(answer_approval(self._backend, name, answer, actor)).addCallback(answered)

    def _revoke(self, request: Request, name: str) -> Deferred[dict[str, Any]]:
        def revoked(existed: bool) -> dict[str, Any]:
            if not existed:
                raise _ErrorResponse(HTTPStatus.NOT_FOUND, "no grant with this id")
            _log.info("grant {name} is revoked", name=name)
            return {"revoked": name}

        actor = actor_of(request, _ADMIN, _PLACE)
        return uncancelled(revoke_grant(self._backend, name, actor)).addCallback(revoked)

    def _revoke_decisions(self, request: Request, revocation: Revocation) -> Deferred[dict[str, Any]]:
        def revoked(counts: RevocationCounts) -> dict[str, Any]:
            _log.info(
                "{who} revokes {subject}: {counts}",
                who=revocation.author or "an administrator",
                subject=revocation.subject,
                counts=str(counts),
            )
            return {**revocation.to_json(), **counts.to_json()}

        actor = actor_of(request, _ADMIN, _PLACE)
        return uncancelled(revoke_decisions(self._backend, revocation, actor)).addCallback(revoked)

    def _wait_for(self, request: Request, result: Deferred[dict[str, Any]]) -> None:
        disconnected = False

        def client_disconnected(_: object) -> None:
            nonlocal disconnected
            disconnected = True
            result.cancel()

        def answered(document: dict[str, Any]) -> None:
            if not disconnected:
                _respond(request, HTTPStatus.OK, document)

        def failed(failure: Failure) -> None:
            error = failure.value
            if disconnected:
                # The client disconnected and the operation was cancelled: ignore its error.
                return
            if isinstance(error, _ErrorResponse):
                _reject(request, error)
            elif isinstance(error, Unanswered):
                _reject(request, _ErrorResponse(HTTPStatus.SERVICE_UNAVAILABLE, str(error)))
            else:
                _log.failure("admin request for {path} failed", failure, path=quoted(request.path))
                _reject(
                    request,
                    _ErrorResponse(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: see the log of the proxy"),
                )

        request.notifyFinish().addErrback(client_disconnected)
        result.addCallbacks(answered, failed)


def _is_of_console(request: Request) -> bool:
    path = request.path
    return path in (b"/", _CONSOLE) or path.startswith(_CONSOLE + b"/")


def _role(document: object) -> str:
    role = document.get("role", "admin") if isinstance(document, dict) else None
    if role not in ("admin", "viewer"):
        raise InvalidApprovalAnswer('send {"role": "admin"} or {"role": "viewer"}')
    return str(role)


def _revocation(document: object) -> Revocation:
    return Revocation.parse(document, time=time.time(), revocation_id=os.urandom(_ID_BYTES).hex())


def _expect(request: Request, *methods: bytes) -> None:
    if request.method not in methods:
        names = ", ".join(method.decode("ascii") for method in methods)
        request.responseHeaders.setRawHeaders("Allow", [names])
        raise _ErrorResponse(HTTPStatus.METHOD_NOT_ALLOWED, f"use {names}")


def _parsed(request: Request, parse: Callable[[object], Any]) -> Any:
    """Parse the content: JSON, which an HTML form in a browser cannot send."""
    kinds = request.requestHeaders.getRawHeaders(b"content-type", [])
    if len(kinds) != 1 or kinds[0].partition(b";")[0].strip().lower() != b"application/json":
        raise _ErrorResponse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
    if getattr(request, "oversize", False):
        raise _ErrorResponse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {_MAX_CONTENT} bytes")
    assert request.content is not None  # because the request is complete
    try:
        return parse(json.loads(request.content.read()))
    except (InvalidApprovalAnswer, InvalidExplainRequest, InvalidRevocation) as error:
        raise _ErrorResponse(HTTPStatus.BAD_REQUEST, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _ErrorResponse(HTTPStatus.BAD_REQUEST, "the content is not JSON") from error


def _reject(request: Request, error_response: _ErrorResponse) -> None:
    if error_response.status is HTTPStatus.UNAUTHORIZED:
        request.responseHeaders.setRawHeaders("WWW-Authenticate", ["Bearer"])
    _respond(request, error_response.status, {"error": error_response.why})


def _respond(request: Request, status: HTTPStatus, document: object) -> None:
    body = json.dumps(document).encode("ascii") + b"\n"
    request.setResponseCode(status)
    for name, value in (
        ("Server", f"egressproxy/{__version__}"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ):
        request.responseHeaders.setRawHeaders(name, [value])
    request.write(body)  # type: ignore[no-untyped-call]
    request.finish()  # type: ignore[no-untyped-call]


class AdminRequest(Request):
    """A request whose content stays in memory and is bounded; content of unauthorized clients is discarded.

    @ivar oversize: whether the content exceeded the limit.
    """

    channel: BoundedChannel
    oversize = False
    content: BytesIO
    _limit = 0

    def gotLength(self, length: int | None) -> None:
        """Prepare for the content (C{twisted.web.http.Request.gotLength})."""
        self.content = BytesIO()
        self.path = self.channel.requested_path
        resource = cast("AdminResource", self.channel.site.resource)
        self.channel.known = resource.knows(self)
        self._limit = resource.content_limit(self)

    def handleContentChunk(self, data: bytes) -> None:
        """Receive a piece of the content (C{twisted.web.iweb.IRequest})."""
        if self.oversize or self.content.tell() + len(data) > self._limit:
            self.oversize = True
        else:
            self.content.write(data)


def admin_site(reactor: IReactorTime, backend: AdminBackend, token: str | None, console: Console | None = None) -> Site:
    """Make the site of the admin API.

    @param reactor: the reactor.
    @param backend: the operations.
    @param token: the bearer token of clients; C{None}: every client that can connect may use the API.
    @param console: the web console, if there is one.
    """
    resource = AdminResource(backend, token, console)
    return BoundedSite(reactor, ChannelBounds(MAX_CONNECTIONS), resource, AdminRequest)
