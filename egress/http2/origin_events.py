"""The events of an HTTP/2 connection with an origin, as events of responses."""

from __future__ import annotations

import attrs
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from egress.http.events import END, End, ResponseHead
from egress.http.heads import HeadLimits
from egress.http2.origin_fields import response_head, response_trailers
from egress.model.authority import Authority
from egress.model.errors import EgressError, OriginDisconnected, OriginProtocolError


@attrs.frozen
class StreamFailure:
    """The failure of a stream.

    @ivar error: the error.
    @ivar connection_lost: whether the connection was lost, and not only the stream.
    @ivar unread: whether the origin states that it has not processed the request.
    """

    error: EgressError
    connection_lost: bool = False
    unread: bool = False


def response_event(event: Event, method: str, limits: HeadLimits) -> ResponseHead | bytes | End | None:
    """Translate an event of a stream.

    @param event: the event.
    @param method: the method of the request.
    @param limits: the limits of a head.
    @return: the event of the response; C{None} if there is none.
    @raise OriginProtocolError: if the response is malformed.
    """
    if isinstance(event, DataReceived):
        return event.data or None
    if isinstance(event, ResponseReceived):
        return response_head(event.headers, method, limits, ended=event.stream_ended is not None)
    if isinstance(event, InformationalResponseReceived):
        return response_head(event.headers, method, limits, ended=False)
    if isinstance(event, TrailersReceived):
        return End(response_trailers(event.headers, limits))
    return END if isinstance(event, StreamEnded) else None


def reset_failure(authority: Authority, event: StreamReset, *, responded: bool) -> StreamFailure:
    """Return the failure of a stream that was reset.

    @param authority: the authority of the origin.
    @param event: the reset.
    @param responded: whether the origin had begun to respond.
    """
    code = event.error_code
    if not event.remote_reset:
        return StreamFailure(OriginProtocolError(f"the origin's response violates HTTP/2 ({code_name(code)})"))
    error = OriginDisconnected(f"{authority} reset the stream ({code_name(code)}) before its response was complete")
    unread = code in (ErrorCodes.REFUSED_STREAM, ErrorCodes.HTTP_1_1_REQUIRED) and not responded
    return StreamFailure(error, unread=unread)


def lost_connection(authority: Authority, goaway: ErrorCodes | int | None) -> OriginDisconnected:
    """Return the error of streams whose connection ended.

    @param authority: the authority of the origin.
    @param goaway: the code with which the origin announced the end; C{None} if it did not.
    """
    if goaway is not None:
        return OriginDisconnected(f"{authority} announced the end of the connection ({code_name(goaway)})")
    return OriginDisconnected(f"{authority} closed the connection before its response was complete")


def code_name(code: ErrorCodes | int | None) -> str:
    """The name of an error code (RFC 9113 section 7)."""
    return code.name if isinstance(code, ErrorCodes) else f"error {code}"
