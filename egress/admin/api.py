"""The admin API: what people are asked, and what becomes of a request that nobody sent.

Whoever reaches it can let requests out, so it is on a UNIX socket or wants a token, and no page in a browser can use
it.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final, Protocol, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from egress import __version__
from egress.model.approval import ApprovalAnswer, InvalidApprovalAnswer
from egress.model.explanation import MAX_BODY, ExplainRequest, InvalidExplainRequest
from egress.model.quote import quoted
from egress.transport.bounded_http import BoundedChannel, BoundedSite, ChannelBounds

_log = Logger()

MAX_CONNECTIONS: Final = 64
"""More people and programs than that do not look at once."""
# A question with the longest content, in base64, and its head.
_MAX_CONTENT: Final = MAX_BODY * 4 // 3 + 512 * 1024
_APPROVALS: Final = b"/approvals"
_EXPLAIN: Final = b"/explain"


class Unanswered(Exception):
    """What the API is asked for cannot be had now; the text says why."""


class AdminBackend(Protocol):
    """Where people are asked and answer, whatever the number of processes."""

    def listed(self) -> Deferred[dict[str, Any]]:
        """Tell what is held, and what is allowed for a time."""

    def answer(self, held_id: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        """Answer a question that is held.

        @return: fires with C{{"answered": N, "permission": ...}}; the number of requests that had this answer.
        """

    def revoke(self, permission_id: str) -> Deferred[bool]:
        """Take back what is allowed for a time.

        @return: fires with whether it was; fails with L{Unanswered} where not everybody has learned of it.
        """

    def explain(self, question: ExplainRequest) -> Deferred[dict[str, Any]]:
        """Explain what becomes of a request."""


class _Refusal(Exception):
    """The answer to a request that asks for nothing that there is."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class AdminResource(Resource):
    """Answers every path of the site.

    @param token: what clients must show; C{None}: the socket's mode tells who may come here.
    """

    isLeaf = True

    def __init__(self, desk: AdminBackend, token: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._desk = desk
        self._token = None if token is None else f"Bearer {token}".encode()

    def render(self, request: Request) -> int:
        """Answer one request (L{twisted.web.resource.IResource.render})."""
        try:
            self._admit(request)
            answering = self._answer_to(request)
        except _Refusal as refusal:
            _refuse(request, refusal)
            return NOT_DONE_YET
        self._wait_for(request, answering)
        return NOT_DONE_YET

    def knows(self, request: Request) -> bool:
        """Say whether who asks may ask at all, as far as the head of the request tells."""
        if self._token is None:
            return True
        shown = request.requestHeaders.getRawHeaders(b"authorization", [])
        return len(shown) == 1 and hmac.compare_digest(shown[0], self._token)

    def _admit(self, request: Request) -> None:
        """Let nobody in but who may, and no page that a browser shows."""
        headers = request.requestHeaders
        if not self.knows(request):
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "show the token of --admin-token-file: Authorization: Bearer")
        if headers.hasHeader(b"origin") or headers.hasHeader(b"sec-fetch-site"):
            raise _Refusal(HTTPStatus.FORBIDDEN, "this is not for pages in a browser")

    def _answer_to(self, request: Request) -> Deferred[dict[str, Any]]:
        method, path = request.method, request.path
        if path == _APPROVALS:
            _expect(request, b"GET")
            return maybeDeferred(self._desk.listed)
        if path.startswith(_APPROVALS + b"/"):
            name = path[len(_APPROVALS) + 1 :].decode("ascii", "replace")
            if method == b"DELETE":
                return self._revoke(name)
            _expect(request, b"POST", b"DELETE")
            return self._answer(name, _parsed(request, ApprovalAnswer.parse))
        if path == _EXPLAIN:
            _expect(request, b"POST")
            question = _parsed(request, ExplainRequest.parse)
            return maybeDeferred(self._desk.explain, question)
        raise _Refusal(HTTPStatus.NOT_FOUND, "there are /approvals, /approvals/ID and /explain")

    def _answer(self, name: str, answer: ApprovalAnswer) -> Deferred[dict[str, Any]]:
        def answered(found: dict[str, Any]) -> dict[str, Any]:
            if found["answered"] == 0:
                raise _Refusal(HTTPStatus.NOT_FOUND, "nobody waits for this any more: it was answered, or has ended")
            _log.info(
                "{who} {verdict} {subject}",
                who=answer.who,
                verdict="allows" if answer.allow else "denies",
                subject=name,
            )
            return found

        return maybeDeferred(self._desk.answer, name, answer).addCallback(answered)

    def _revoke(self, name: str) -> Deferred[dict[str, Any]]:
        def revoked(was: bool) -> dict[str, Any]:
            if not was:
                raise _Refusal(HTTPStatus.NOT_FOUND, "nothing of this id is allowed for a time")
            _log.info("permission {name} is taken back", name=name)
            return {"revoked": name}

        return maybeDeferred(self._desk.revoke, name).addCallback(revoked)

    def _wait_for(self, request: Request, answering: Deferred[dict[str, Any]]) -> None:
        gone = False

        def left(_: object) -> None:
            nonlocal gone
            gone = True
            answering.cancel()

        def answered(document: dict[str, Any]) -> None:
            if not gone:
                _answer(request, HTTPStatus.OK, document)

        def failed(failure: Failure) -> None:
            error = failure.value
            if gone:
                # Whatever it is, it came of being given up.
                return
            if isinstance(error, _Refusal):
                _refuse(request, error)
            elif isinstance(error, Unanswered):
                _refuse(request, _Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)))
            else:
                _log.failure("{path} cannot be answered", failure, path=quoted(request.path))
                _refuse(request, _Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed; the log says why"))

        request.notifyFinish().addErrback(left)
        answering.addCallbacks(answered, failed)


def _expect(request: Request, *methods: bytes) -> None:
    if request.method not in methods:
        names = ", ".join(method.decode("ascii") for method in methods)
        request.responseHeaders.setRawHeaders("Allow", [names])
        raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"use {names}")


def _parsed(request: Request, parse: Callable[[object], Any]) -> Any:
    """Read the content: JSON, which no form of a page in a browser can send."""
    kinds = request.requestHeaders.getRawHeaders(b"content-type", [])
    if len(kinds) != 1 or kinds[0].partition(b";")[0].strip().lower() != b"application/json":
        raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")
    if getattr(request, "oversize", False):
        raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"send at most {_MAX_CONTENT} bytes")
    assert request.content is not None  # since the request is complete
    try:
        return parse(json.loads(request.content.read()))
    except (InvalidApprovalAnswer, InvalidExplainRequest) as error:
        raise _Refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _Refusal(HTTPStatus.BAD_REQUEST, "the content is not JSON") from error


def _refuse(request: Request, refusal: _Refusal) -> None:
    if refusal.status is HTTPStatus.UNAUTHORIZED:
        request.responseHeaders.setRawHeaders("WWW-Authenticate", ["Bearer"])
    _answer(request, refusal.status, {"error": refusal.why})


def _answer(request: Request, status: HTTPStatus, document: object) -> None:
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
    """A request whose content stays in memory, and is bounded; of strangers nothing is kept.

    @ivar oversize: whether there was more of it than is kept.
    """

    channel: BoundedChannel
    oversize = False
    content: BytesIO

    def gotLength(self, length: int | None) -> None:
        """Begin to take the content (L{twisted.web.http.Request.gotLength})."""
        self.content = BytesIO()
        resource = cast("AdminResource", self.channel.site.resource)
        self.channel.known = resource.knows(self)
        self.oversize = not self.channel.known

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of it (L{twisted.web.iweb.IRequest})."""
        if self.oversize or self.content.tell() + len(data) > _MAX_CONTENT:
            self.oversize = True
        else:
            self.content.write(data)


def admin_site(reactor: IReactorTime, desk: AdminBackend, token: str | None) -> Site:
    """Make the site of the admin API.

    @param token: what clients must show; C{None}: whoever reaches it may use it.
    """
    return BoundedSite(reactor, ChannelBounds(MAX_CONNECTIONS), AdminResource(desk, token), AdminRequest)
