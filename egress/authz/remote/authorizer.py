"""The authorizer that calls an authorization service."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeadlinePassed
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed, DNSLookupError
from twisted.internet.error import ConnectionRefusedError as ConnectRefused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import classImplements

from egress.authz.protocols.base import AuthzRequest, AuthzResponse, Codec
from egress.authz.remote.agent import KeepAliveAgent, MalformedResponse, ResponseTooLarge, TooManyRequests
from egress.authz.remote.messages import PendingRequest, encode_head, encode_request
from egress.config.model import AuthzBody
from egress.http.events import ResponseHead
from egress.interfaces import IAuthorizer
from egress.model.authz_failure import AuthzFailure
from egress.model.decision import Decision, DecisionRequest, Verdict
from egress.model.errors import AuthorizerUnavailable, EgressError
from egress.model.trace import TRACESTATE
from egress.transport.reactor import IEgressReactor

_CONTENT_TOO_LARGE: Final = HTTPStatus.REQUEST_ENTITY_TOO_LARGE.value


class Service(Protocol):
    """The settings of a service that its calls need; see L{egress.authz.remote.client.RemoteService}."""

    @property
    def name(self) -> str:
        """The name of the authorizer."""

    @property
    def codec(self) -> Codec:
        """The codec of its API."""

    @property
    def timeout(self) -> float:
        """Seconds for one whole call."""

    @property
    def token(self) -> str | None:
        """A bearer token for the call."""

    @property
    def body(self) -> AuthzBody:
        """When to send the content."""


class _Call(PendingRequest):
    """One call of the service, with one Deferred from the request to the decision.

    @param data: the HTTP request.
    @param size: the size of its content, in bytes.
    @ivar result: fires with the decision.
    @ivar deadline: the time at which the call fails.
    """

    def __init__(
        self, authorizer: RemoteAuthorizer, request: DecisionRequest, method: str, data: bytes, size: int
    ) -> None:
        super().__init__(method, data)
        self.request = request
        self.size = size
        self.deadline = 0.0
        self._expired = False
        self.result: Deferred[Decision] = Deferred(self._cancel)
        self._authorizer = authorizer

    def _cancel(self, _: object) -> None:
        self._authorizer.forget(self)
        self.on_cancel()

    def succeed(self, head: ResponseHead, content: bytes) -> None:
        self._authorizer.forget(self)
        try:
            decision = self._authorizer.decision_of(self, AuthzResponse(head.status, head.headers, content))
        except Exception:  # noqa: BLE001 - a fault of a codec, too, must end the call
            self.fail(Failure())  # type: ignore[no-untyped-call]
        else:
            self.result.callback(decision)

    def fail(self, failure: Failure) -> None:
        self._authorizer.forget(self)
        if self._expired and isinstance(failure.value, CancelledError):
            failure = Failure(DeadlinePassed())  # type: ignore[no-untyped-call]
        if not self.result.called:
            self.result.errback(self._authorizer.unavailable(failure))

    def expire(self) -> None:
        """Fail, because the time is over."""
        self._expired = True
        # A connection attempt that is cancelled can fail with an error of its own.
        self.on_cancel()
        self.fail(Failure(CancelledError()))  # type: ignore[no-untyped-call]


class RemoteAuthorizer:
    """Sends authorization requests to an authorization service.

    One timer enforces the time limit of all calls: it is set for the oldest one.

    @param agent: connects to the authority of the service.
    @param explain_tls: describes a failed TLS handshake with the service.
    """

    def __init__(
        self,
        clock: IEgressReactor,
        service: Service,
        agent: KeepAliveAgent,
        explain_tls: Callable[[Failure], EgressError] | None = None,
    ) -> None:
        self.name = service.name
        self.needs_body = service.body is AuthzBody.ALWAYS
        self._sends_body = service.body is not AuthzBody.NEVER
        self._clock = clock
        self._codec = service.codec
        self._agent = agent
        self._timeout = service.timeout
        self._explain_tls = explain_tls
        self._headers = Headers()
        for field in service.codec.fields:
            self._headers.addRawHeader(*field)
        if service.token is not None:
            self._headers.setRawHeaders("Authorization", [f"Bearer {service.token}"])
        # The last head without further fields: with most APIs, all heads are the same.
        self._method = self._url = self._head = b""
        # In the order of their deadlines.
        self._calls: dict[_Call, None] = {}
        self._timer: IDelayedCall | None = None
        self._closed = False

    def retries(self) -> int:
        """Return the number of requests that were sent again."""
        return self._agent.retries

    def decide(self, request: DecisionRequest) -> Deferred[Decision]:
        """Send an authorization request; see L{IAuthorizer.decide}."""
        try:
            encoded = self._codec.encode(request)
        except AuthorizerUnavailable as error:
            return fail(error)
        content = encoded.content
        data = encode_request(self._head_of(encoded, request), content)
        call = _Call(self, request, encoded.method.decode("ascii"), data, len(content))
        call.deadline = self._clock.seconds() + self._timeout
        self._calls[call] = None
        if self._timer is None:
            self._timer = self._clock.callLater(self._timeout, self._expire)
        self._agent.send(call)
        return call.result

    def _head_of(self, encoded: AuthzRequest, request: DecisionRequest) -> bytes:
        if encoded.fields or request.trace:
            headers = self._headers.copy()
            for field in encoded.fields:
                headers.addRawHeader(*field)
            if request.trace:
                # They replace the context of the client, which some codecs pass on.
                headers.removeHeader(TRACESTATE)
            for name, value in request.trace:
                headers.setRawHeaders(name, [value])
            return encode_head(encoded.method, encoded.url, headers)
        if encoded.url != self._url or encoded.method != self._method:
            self._method, self._url = encoded.method, encoded.url
            self._head = encode_head(encoded.method, encoded.url, self._headers)
        return self._head

    def forget(self, call: _Call) -> None:
        """Remove a call that ends."""
        self._calls.pop(call, None)
        if self._closed and not self._calls:
            self._stop_timer()

    def _expire(self) -> None:
        """End the calls whose time is over, and set the timer for the next one."""
        self._timer = None
        now = self._clock.seconds()
        for call in list(self._calls):
            if call.deadline > now:
                self._timer = self._clock.callLater(call.deadline - now, self._expire)
                return
            call.expire()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def decision_of(self, call: _Call, response: AuthzResponse) -> Decision:
        """Return the decision of a response.

        @raise AuthorizerUnavailable: if there is none.
        """
        try:
            return self._checked(self._codec.decode(response, call.request))
        except AuthorizerUnavailable as error:
            # Many servers accept only small requests by default, and the text of such a response is not a decision.
            if response.status == _CONTENT_TOO_LARGE:
                raise AuthorizerUnavailable(_too_large(call.size), AuthzFailure.REQUEST) from error
            raise

    def _checked(self, decision: Decision) -> Decision:
        if decision.verdict is Verdict.NEED_BODY and not self._sends_body:
            reason = "the authorization service needs the content, but --authz-body is never"
            # The service responded, so no stale decision may replace this result.
            raise AuthorizerUnavailable(reason, AuthzFailure.REQUEST)
        return decision

    def unavailable(self, failure: Failure) -> Failure:
        """Return the failure of an authorization request for any failure of a call."""
        error = failure.value
        if isinstance(error, (AuthorizerUnavailable, CancelledError)):
            return failure
        described = AuthorizerUnavailable(f"the authorization service {self._describe(failure)}", _kind(error))
        described.__cause__ = error
        return Failure(described)  # type: ignore[no-untyped-call]

    def _describe(self, failure: Failure) -> str:
        error = failure.value
        if isinstance(error, DeadlinePassed):
            return f"did not respond within {self._timeout:g} s"
        if isinstance(error, (ConnectTimeout, ConnectingCancelledError)):
            return f"did not accept the connection within {self._timeout:g} s"
        if isinstance(error, ConnectRefused):
            return "refused the connection"
        if isinstance(error, DNSLookupError):
            return "has a host name that does not resolve"
        # A plain close reaches this line only during a handshake; during a response the agent raises its own errors.
        if isinstance(error, (SSL.Error, ConnectionClosed)) and self._explain_tls is not None:
            return f"has a TLS error: {self._explain_tls(failure).reason}"
        if isinstance(error, ConnectionClosed):
            return "closed the connection before its response was complete"
        if isinstance(error, ConnectError):
            return f"cannot be reached: {error}"
        if isinstance(error, EgressError):
            return f"failed: {error.reason}"
        return f"failed: {type(error).__name__}"

    def check_ready(self) -> Deferred[None]:
        """Check whether the service can be connected to, without an authorization request."""
        probe = self._agent.probe()
        probe.addTimeout(self._timeout, self._clock)
        return probe.addErrback(self.unavailable)

    def close(self) -> Deferred[None]:
        """Close idle connections."""
        self._closed = True
        if not self._calls:
            self._stop_timer()
        self._agent.close()
        return succeed(None)


# A decorator would keep the compiler from making the class a native one.
classImplements(RemoteAuthorizer, IAuthorizer)


def _too_large(size: int) -> str:
    return (
        f"the authorization service rejected the size of the authorization request (status 413, {size:,} bytes); "
        "the operator can increase the limit of the service (in Express: express.json({limit: '25mb'})), or set "
        "--authz-body on-demand or never"
    )


def _kind(error: object) -> AuthzFailure:
    if isinstance(error, DeadlinePassed):
        return AuthzFailure.TIMEOUT
    if isinstance(error, (ResponseTooLarge, MalformedResponse)):
        return AuthzFailure.RESPONSE
    return AuthzFailure.OVERLOAD if isinstance(error, TooManyRequests) else AuthzFailure.CONNECTION
