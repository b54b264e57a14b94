"""The protocol of the messages of an exchange, from its request and its response."""

from __future__ import annotations

from egress.grpc.call import kind_of_request
from egress.http.events import RequestHead, ResponseHead
from egress.http.upgrade import Upgrade
from egress.http.websocket_extensions import negotiated
from egress.messages.event_stream import EventStreamInspection, coding_of, is_event_stream
from egress.messages.grpc import GrpcInspection
from egress.messages.splitter import Inspection
from egress.messages.websocket import WebSocketInspection
from egress.model.errors import OriginProtocolError
from egress.model.message import Direction, MessageObligation


def inspection_of_request(head: RequestHead, terms: MessageObligation, request_id: str) -> GrpcInspection | None:
    """Return the protocol that the request determines, so that the messages in its content are authorized.

    @param head: the head of the request.
    @param terms: the messages to authorize.
    @param request_id: the id of the exchange.
    """
    kind = kind_of_request(head.method, head.headers)
    return None if kind is None else GrpcInspection(head, kind, terms, request_id)


def inspection_of_response(
    head: ResponseHead, terms: MessageObligation, current: Inspection | None
) -> Inspection | None:
    """Return the protocol of the messages in the content of the response, if there are any.

    @param head: the head of the response.
    @param terms: the messages to authorize.
    @param current: the protocol that the request determined.
    @raise OriginProtocolError: if its messages cannot be read.
    """
    if isinstance(current, GrpcInspection):
        current.begin_response(head)
    if current is not None:
        return current
    if Direction.ORIGIN not in terms.directions or not is_event_stream(head):
        return None
    coding = coding_of(head.headers)
    if coding is not None:
        raise OriginProtocolError(
            f"the origin sent an event stream with the content coding {coding.decode('latin-1')!a}, so its events "
            "cannot be authorized"
        )
    return EventStreamInspection(terms)


def inspection_of_upgrade(head: ResponseHead, upgrade: Upgrade, terms: MessageObligation) -> Inspection:
    """Return the protocol of an upgraded connection.

    @raise OriginProtocolError: if its messages cannot be read.
    """
    if not upgrade.is_websocket:
        raise OriginProtocolError("the messages of the new protocol cannot be authorized")
    try:
        return WebSocketInspection(terms, negotiated(head.headers))
    except ValueError as error:
        raise OriginProtocolError(f"the messages of the WebSocket cannot be authorized: {error}") from error
