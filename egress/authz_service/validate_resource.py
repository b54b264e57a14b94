"""Where questions are answered: HTTP on one side, an authorizer on the other, one record for each question."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.logger import Logger

from egress.authz.protocols.validate_server import (
    UNKNOWN_CLIENT,
    InvalidRequest,
    decode_request,
    encode_rejection,
    encode_response,
)
from egress.model.decision import NO_OBLIGATIONS, ClientIdentity, Decision, DecisionRequest, Verdict
from egress.model.errors import AuthorizerUnavailable, EgressError, outcome_of
from egress.model.record import ExchangeRecord

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from egress.authz_service.bearer import Bearer
    from egress.authz_service.http_channel import QuestionRequest
    from egress.interfaces import IAuthorizer

_log = Logger()

PATH: Final = b"/validate"
DECIDED: Final = "decided"
"""The outcome of a question in the audit log: what became of the request, the proxy's log says."""
BAD_QUESTION: Final = "bad-question"

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_JSON_TYPE: Final = re.compile(r"(?:application/(?:[\w.+-]+\+)?json|text/json)\s*(?:;.*)?", re.IGNORECASE)
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})

_WITHHELD: Final = (
    "the rule sets header fields, which this service tells only to callers that show its token or a certificate"
)


class _Refusal(Exception):
    """A request that is not answered with a decision.

    @ivar kind: for the metrics.
    @ivar detail: what is wrong, in one sentence.
    @ivar fields: header fields that belong to the answer.
    """

    def __init__(self, status: HTTPStatus, kind: str, detail: str, **fields: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.fields = fields


@attrs.frozen
class _Asked:
    """A question, and when it was put.

    @ivar time: seconds since the epoch.
    @ivar started: the same moment on the clock.
    """

    request: DecisionRequest
    time: float
    started: float


class ValidateResource:
    """Answers requests.

    @param bearer: knows the callers that may ask; C{None}: all may.
    @param trusted: whether callers have proven who they are otherwise, by a certificate.
    @param report: takes the record of each question.
    @param refused: is told, by a word, of what was no question.
    @param new_id: names questions that do not name themselves.
    @param wall_clock: gives seconds since the epoch.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        authorizer: IAuthorizer,
        bearer: Bearer | None,
        trusted: bool,
        report: Callable[[ExchangeRecord], object],
        refused: Callable[[str], object],
        new_id: Callable[[], str],
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._authorizer = authorizer
        self._bearer = bearer
        self._trusted = trusted or bearer is not None
        self._report = report
        self._refused = refused
        self._new_id = new_id

    def serve(self, request: QuestionRequest) -> None:
        """Answer one request."""
        try:
            self._check(request)
        except _Refusal as refusal:
            self._refuse(request, refusal)
            return
        now, started = self._wall_clock(), self._clock.seconds()
        try:
            question = decode_request(request.content.getvalue(), self._new_id())
        except InvalidRequest as error:
            self._refused("question")
            self._record_bad(error, now, started)
            request.answer(HTTPStatus.BAD_REQUEST, encode_rejection(error.reason), _JSON)
            return
        self._ask(request, _Asked(question, now, started))

    def admits(self, request: QuestionRequest) -> bool:
        """Whether a caller may ask, as far as its request's head says."""
        shown = request.requestHeaders.getRawHeaders(b"Authorization", [])
        return self._bearer is None or self._bearer.admits(shown)

    # -- what must hold before anything is read

    def _check(self, request: QuestionRequest) -> None:
        if b"/" + request.path.strip(b"/") != PATH:
            raise _Refusal(HTTPStatus.NOT_FOUND, "path", "there is nothing here; questions go to POST /validate")
        if request.method != b"POST":
            detail = "a question is put with POST"
            raise _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "method", detail, Allow="POST")
        if self._bearer is not None and not self.admits(request):
            fields = {"WWW-Authenticate": self._bearer.challenge}
            raise _Refusal(HTTPStatus.UNAUTHORIZED, "token", "callers show the token of this service", **fields)
        if request.excess:
            detail = "the question is too long; the service's --body-limit says how long a body may be"
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "size", detail)
        if request.crowded:
            detail = "the service has too many long questions at once; try again later"
            raise _Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "crowded", detail)
        coding = request.getHeader("Content-Encoding")
        if coding is not None and coding.strip().lower() not in ("", "identity"):
            detail = "a question comes without a content coding"
            raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "type", detail, **{"Accept-Encoding": "identity"})
        _check_type(request.getHeader("Content-Type"))

    # -- the question

    def _ask(self, request: QuestionRequest, asked: _Asked) -> None:
        waiting = maybeDeferred(self._authorizer.decide, asked.request)
        if not waiting.called:
            # The caller may go away meanwhile.
            request.notifyFinish().addErrback(lambda _: waiting.cancel())
        waiting.addCallback(self._sound, asked.request).addCallbacks(
            lambda decision: self._decided(request, asked, decision),
            lambda failure: self._undecided(request, asked, failure),
        ).addErrback(lambda failure: _failed(request, failure))

    def _sound(self, decision: Decision, question: DecisionRequest) -> Decision:
        """Make one of a decision that can be told to this caller."""
        if decision.verdict is Verdict.NEED_BODY and not question.body_withheld:
            raise AuthorizerUnavailable("the authorizer wants content that is not there, or has it already")
        if decision.verdict is Verdict.NEED_ADDRESSES and not question.addresses_withheld:
            raise AuthorizerUnavailable("the authorizer wants addresses that nobody can look up, or has them already")
        if not (decision.obligations.set_headers or decision.obligations.secret_headers) or self._trusted:
            return decision
        # Nor may a person allow what would then leave without these fields.
        reason = decision.reason if decision.verdict is Verdict.DENY else _WITHHELD
        return attrs.evolve(decision, verdict=Verdict.DENY, reason=reason, obligations=NO_OBLIGATIONS)

    def _decided(self, request: QuestionRequest, asked: _Asked, decision: Decision) -> None:
        status, content = encode_response(decision)
        self._record(asked, decision.verdict.value, DECIDED, decision.reason, status, decision)
        request.answer(status, content, _JSON)

    def _undecided(self, request: QuestionRequest, asked: _Asked, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            # Nobody is there any more.
            reason = "the caller went away"
            self._record(asked, "unavailable", "client-gone", reason, None, None)
            return
        if not isinstance(error, EgressError):
            _log.failure("{id} failed", failure, id=asked.request.request_id)
            error = AuthorizerUnavailable("the authorizer failed; the operator's log has the details")
        status = HTTPStatus.SERVICE_UNAVAILABLE
        self._record(asked, "unavailable", outcome_of(error).code, error.reason, status.value, None)
        _problem(request, status, error.reason)

    # -- records

    def _record(
        self, asked: _Asked, verdict: str, outcome: str, reason: str, status: int | None, decision: Decision | None
    ) -> None:
        question = asked.request
        took = self._clock.seconds() - asked.started
        self._report(
            ExchangeRecord(
                time=asked.time,
                request_id=question.request_id,
                client=question.client,
                stage=question.stage.value,
                method=question.method,
                url=question.url,
                verdict=verdict,
                outcome=outcome,
                reason=reason,
                decided_by=self._authorizer.name if decision is None else decision.decided_by,
                rule_id=None if decision is None else decision.rule_id,
                decision_seconds=took,
                status=status,
                bytes_sent=0,
                bytes_received=0,
                duration=took,
                address=None,
                upstream=None,
                observed=None if decision is None else decision.observed,
                source=None if decision is None else decision.source,
            )
        )

    def _record_bad(self, error: InvalidRequest, now: float, started: float) -> None:
        self._report(
            ExchangeRecord(
                time=now,
                request_id=self._new_id(),
                client=ClientIdentity(UNKNOWN_CLIENT, 0),
                stage="request",
                method="",
                url="",
                verdict="refused",
                outcome=BAD_QUESTION,
                reason=error.reason,
                decided_by="egressauthz",
                rule_id=None,
                decision_seconds=None,
                status=HTTPStatus.BAD_REQUEST.value,
                bytes_sent=0,
                bytes_received=0,
                duration=self._clock.seconds() - started,
                address=None,
                upstream=None,
                observed=None,
                source=None,
            )
        )

    def _refuse(self, request: QuestionRequest, refusal: _Refusal) -> None:
        self._refused(refusal.kind)
        for name, value in refusal.fields.items():
            request.responseHeaders.setRawHeaders(name, [value])
        _problem(request, refusal.status, refusal.detail)


def _check_type(given: str | None) -> None:
    """Take JSON in UTF-8, by any name, and what does not say what it is."""
    if given is None:
        return
    charset = _CHARSET.search(given)
    if not _JSON_TYPE.fullmatch(given.strip()) or (charset is not None and charset[1].lower() not in _CHARSETS):
        detail = "a question is JSON in UTF-8, of the type application/json"
        raise _Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "type", detail, Accept=_JSON)


def _problem(request: QuestionRequest, status: HTTPStatus, detail: str) -> None:
    """Answer with what is no decision (RFC 9457); without C{allowed}, so that nobody takes it for a denial."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    request.answer(status, json.dumps(problem).encode("ascii"), _PROBLEM)


def _failed(request: QuestionRequest, failure: Failure) -> None:
    _log.failure("a question cannot be answered", failure)
    _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; the operator's log has the details")
