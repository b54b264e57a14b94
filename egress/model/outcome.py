"""The outcome of an exchange that an error ended."""

from __future__ import annotations

from http import HTTPStatus

import attrs


@attrs.frozen
class Outcome:
    """The outcome of an error.

    @ivar status: the status code of the response; C{None} if no response is possible and the connection is closed.
    @ivar code: a stable identifier for programs: the C{type} of the problem document, the audit log, the metrics.
    @ivar stage: the step that rejected the request or failed.
    @ivar proxy_error: the error type for C{Proxy-Status} (RFC 9209 section 2.3).
    @ivar verdict: the verdict in the audit log.
    """

    status: HTTPStatus | None
    code: str
    stage: str
    proxy_error: str
    verdict: str


def rejected(status: HTTPStatus | None, code: str, stage: str = "request") -> Outcome:
    """Return the outcome of an error that the client caused."""
    return Outcome(status, code, stage, "http_request_error", "rejected")


def unavailable(code: str, stage: str, verdict: str = "unavailable") -> Outcome:
    """Return the outcome of an error with status 503."""
    return Outcome(HTTPStatus.SERVICE_UNAVAILABLE, code, stage, "proxy_internal_error", verdict)


def failed(status: HTTPStatus, code: str, stage: str, proxy_error: str) -> Outcome:
    """Return the outcome of an error of an origin, or on the way to it."""
    return Outcome(status, code, stage, proxy_error, "failed")
