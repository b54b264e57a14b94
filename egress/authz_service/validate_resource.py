"""The HTTP resource C{/validate}: it calls an authorizer for each request, and writes an audit record."""

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
    from egress.authz_service.http_channel import ValidateRequest
    from egress.interfaces import IAuthorizer

_log = Logger()

PATH: Final = b"/validate"
DECIDED: Final = "decided"
"""The outcome of an authorization request in the audit log.  The outcome of the exchange itself is in the log of the
proxy.
"""
BAD_REQUEST: Final = "bad-request"

_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"
_JSON_TYPE: Final = re.compile(r"(?:application/(?:[\w.+-]+\+)?json|text/json)\s*(?:;.*)?", re.IGNORECASE)
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})

_WITHHELD: Final = (
    "the rule sets header fields, which this service sends only to callers with its token or a certificate"
)


class _Rejection(Exception):
    """A request that gets no decision.

    @ivar kind: the label in the metrics.
    @ivar detail: the problem, in one sentence.
    @ivar fields: header fields of the response.
    """

    def __init__(self, status: HTTPStatus, kind: str, detail: str, **fields: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.fields = fields


@attrs.frozen
class _ReceivedRequest:
    """An authorization request, and its time.

    @ivar time: seconds since the epoch.
    @ivar started: the same moment on the clock of the reactor.
    """

    request: DecisionRequest
    time: float
    started: float


class ValidateResource:
    """Responds to authorization requests.

    @param bearer: checks the token of callers; C{None}: callers need no token.
    @param trusted: whether callers are authenticated in another way, by a certificate.
    @param report: receives the record of each request.
    @param rejected: receives the kind of each rejected request.
    @param new_id: makes ids for requests that contain none.
    @param wall_clock: returns seconds since the epoch.
    """

    def __init__(
        self,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        authorizer: IAuthorizer,
        *,
        bearer: Bearer | None,
        trusted: bool,
        report: Callable[[ExchangeRecord], object],
        rejected: Callable[[str], object],
        new_id: Callable[[], str],
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._authorizer = authorizer
        self._bearer = bearer
        self._trusted = trusted or bearer is not None
        self._report = report
        self._rejected = rejected
        self._new_id = new_id

    def serve(self, request: ValidateRequest) -> None:
        """Respond to one request."""
        try:
            self._check(request)
        except _Rejection as rejection:
            self._reject(request, rejection)
            return
        now, started = self._wall_clock(), self._clock.seconds()
        try:
            decision_request = decode_request(request.content.getvalue(), self._new_id())
        except InvalidRequest as error:
            self._rejected("bad-request")
            self._record_bad(error, now, started)
            request.answer(HTTPStatus.BAD_REQUEST, encode_rejection(error.reason), _JSON)
            return
        self._decide(request, _ReceivedRequest(decision_request, now, started))

    def admits(self, request: ValidateRequest) -> bool:
        """Return whether the head of a request has the token, if one is required."""
        shown = request.requestHeaders.getRawHeaders(b"Authorization", [])
        return self._bearer is None or self._bearer.admits(shown)

    # -- checks of the HTTP request

    def _check(self, request: ValidateRequest) -> None:
        if b"/" + request.path.strip(b"/") != PATH:
            raise _Rejection(
                HTTPStatus.NOT_FOUND, "not-found", "not found: send authorization requests to POST /validate"
            )
        if request.method != b"POST":
            detail = "send authorization requests with POST"
            raise _Rejection(HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", detail, Allow="POST")
        if self._bearer is not None and not self.admits(request):
            fields = {"WWW-Authenticate": self._bearer.challenge}
            raise _Rejection(
                HTTPStatus.UNAUTHORIZED, "unauthorized", "the token of this service is missing or invalid", **fields
            )
        if request.too_large:
            detail = "the authorization request is too long; --body-limit of the service limits the length of a body"
            raise _Rejection(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "content-too-large", detail)
        if request.over_budget:
            detail = "too many long authorization requests are in progress; try again later"
            raise _Rejection(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", detail)
        coding = request.getHeader("Content-Encoding")
        if coding is not None and coding.strip().lower() not in ("", "identity"):
            detail = "an authorization request must not have a content coding"
            fields = {"Accept-Encoding": "identity"}
            raise _Rejection(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail, **fields)
        _check_type(request.getHeader("Content-Type"))

    # -- the decision

    def _decide(self, request: ValidateRequest, received: _ReceivedRequest) -> None:
        waiting = maybeDeferred(self._authorizer.decide, received.request)
        if not waiting.called:
            # The caller may disconnect before the decision.
            request.notifyFinish().addErrback(lambda _: waiting.cancel())
        waiting.addCallback(self._validated, received.request).addCallbacks(
            lambda decision: self._decided(request, received, decision),
            lambda failure: self._failed_decision(request, received, failure),
        ).addErrback(lambda failure: _failed(request, failure))

    def _validated(self, decision: Decision, decision_request: DecisionRequest) -> Decision:
        """Check a decision, and deny if it contains fields that this caller may not see."""
        if decision.verdict is Verdict.NEED_BODY and not decision_request.body_withheld:
            raise AuthorizerUnavailable("the authorizer needs content that was not withheld")
        if decision.verdict is Verdict.NEED_ADDRESSES and not decision_request.addresses_withheld:
            raise AuthorizerUnavailable("the authorizer needs addresses that were not withheld")
        if decision.obligations.budgets:
            raise AuthorizerUnavailable("the decision has budgets, which only a proxy with the policy counts")
        if not (decision.obligations.set_headers or decision.obligations.secret_headers) or self._trusted:
            return decision
        # An approver must not allow it either: the request would then be sent without these fields.
        reason = decision.reason if decision.verdict is Verdict.DENY else _WITHHELD
        return attrs.evolve(decision, verdict=Verdict.DENY, reason=reason, obligations=NO_OBLIGATIONS)

    def _decided(self, request: ValidateRequest, received: _ReceivedRequest, decision: Decision) -> None:
        status, content = encode_response(decision)
        self._record(
            received,
            decision,
            verdict=decision.verdict.value,
            outcome=DECIDED,
            reason=decision.reason,
            status=status,
        )
        request.answer(status, content, _JSON)

    def _failed_decision(self, request: ValidateRequest, received: _ReceivedRequest, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            # The caller disconnected.
            reason = "the caller disconnected"
            self._record(
                received, None, verdict="unavailable", outcome="client-disconnected", reason=reason, status=None
            )
            return
        if not isinstance(error, EgressError):
            _log.failure("authorization request {id} failed", failure, id=received.request.request_id)
            error = AuthorizerUnavailable("the authorizer failed; the operator's log has the details")
        status = HTTPStatus.SERVICE_UNAVAILABLE
        outcome = outcome_of(error).code
        self._record(received, None, verdict="unavailable", outcome=outcome, reason=error.reason, status=status.value)
        _problem(request, status, error.reason)

    # -- records

    def _record(
        self,
        received: _ReceivedRequest,
        decision: Decision | None,
        *,
        verdict: str,
        outcome: str,
        reason: str,
        status: int | None,
    ) -> None:
        decision_request = received.request
        took = self._clock.seconds() - received.started
        self._report(
            ExchangeRecord(
                time=received.time,
                request_id=decision_request.record_id,
                client=decision_request.client,
                stage=decision_request.stage.value,
                method=decision_request.method,
                url=decision_request.url,
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
                phases=(),
                request_headers=None,
                response_headers=None,
                trace=None,
                grpc=None,
                client_http=None,
                origin_http=None,
                policy_version=None if decision is None else decision.policy_version,
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
                verdict="rejected",
                outcome=BAD_REQUEST,
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
                phases=(),
                request_headers=None,
                response_headers=None,
                trace=None,
                grpc=None,
                client_http=None,
                origin_http=None,
                policy_version=None,
            )
        )

    def _reject(self, request: ValidateRequest, rejection: _Rejection) -> None:
        self._rejected(rejection.kind)
        for name, value in rejection.fields.items():
            request.responseHeaders.setRawHeaders(name, [value])
        _problem(request, rejection.status, rejection.detail)


def _check_type(given: str | None) -> None:
    """Accept JSON in UTF-8, under each of its type names, and content without a type."""
    if given is None:
        return
    charset = _CHARSET.search(given)
    if not _JSON_TYPE.fullmatch(given.strip()) or (charset is not None and charset[1].lower() not in _CHARSETS):
        detail = "an authorization request must be JSON in UTF-8, with the type application/json"
        raise _Rejection(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail, Accept=_JSON)


def _problem(request: ValidateRequest, status: HTTPStatus, detail: str) -> None:
    """Respond with a problem (RFC 9457), without C{allowed}, so that no caller reads it as a denial."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    request.answer(status, json.dumps(problem).encode("ascii"), _PROBLEM)


def _failed(request: ValidateRequest, failure: Failure) -> None:
    _log.failure("responding to an authorization request failed", failure)
    _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; the operator's log has the details")
