"""The condition on the fields of the request message of a gRPC call."""

from __future__ import annotations

from typing import Any, Final

import attrs

from egress.grpc.call import CALL_ATTRIBUTES, Call, call_of
from egress.grpc.descriptors import Descriptors, InvalidMessage, Method
from egress.grpc.framing import MalformedFrame, MessageTooLarge
from egress.grpc.messages import encoding_of, only_message
from egress.model.decision import DecisionRequest
from egress.policy.match.content import UNREAD
from egress.policy.match.json_body import UNREADABLE, Document, Expression, Wanted, json_matches
from egress.policy.match.request_view import UNCERTAIN, RequestView
from egress.policy.match.tristate import Match, all_of
from egress.policy.match.work_budget import TooMuchWork, WorkBudget

KEY: Final = "grpc.fields"

_PROTO: Final = "proto"

# Steps of work for each byte of a message, and for each of its values.
_PER_BYTE: Final = 8
_PER_VALUE: Final = 700

_CAUSE: Final = "its gRPC message takes long to read"


@attrs.frozen
class GrpcFields:
    """A condition on the values that expressions select in the only request message of a call.

    @ivar wanted: for each expression, the values that it may select.
    """

    wanted: tuple[tuple[Expression, Wanted], ...]
    key = KEY
    is_seen = False
    depends_on = CALL_ATTRIBUTES | {
        "body",
        "header:grpc-encoding",
        "header:content-encoding",
        "header:content_encoding",
    }

    def match(self, view: RequestView) -> Match:
        """Return whether all expressions select matching values; C{MAYBE} if the message cannot be read."""
        call = view.grpc
        if call is None:
            return Match.NO
        document = view.grpc_document
        if document is None:
            document = view.grpc_document = UNREADABLE if call is UNCERTAIN else _document(view, call)
        if document is UNREAD:
            return Match.UNREAD
        return all_of(json_matches(document, expression, wanted) for expression, wanted in self.wanted)

    def stable_for(self, now: float) -> float:
        """Return infinity: the result does not depend on the time."""
        return float("inf")


def _document(view: RequestView, call: Call) -> Any:
    request, descriptors = view.request, view.descriptors
    method = descriptors.find(call.service, call.method) if isinstance(descriptors, Descriptors) else None
    # A client that streams can send other messages later. A coding of HTTP, or JSON, is not what servers of gRPC read.
    if method is None or method.client_streams or call.subtype != _PROTO or "content-encoding" in view.fields:
        return UNREADABLE
    if request.body is None:
        return UNREAD if request.body_withheld else UNREADABLE
    if request.body_truncated:
        return UNREADABLE
    work = view.work
    work.spend(_PER_BYTE * len(request.body), f"its gRPC message has {len(request.body):,} bytes")
    limit = len(request.body) + work.left // _PER_BYTE
    try:
        data = only_message(request.body, call.kind, encoding_of(request.headers), limit)
    except MessageTooLarge:
        raise TooMuchWork(_CAUSE) from None
    except MalformedFrame:
        return UNREADABLE
    work.spend(_PER_BYTE * max(0, len(data) - len(request.body)), f"its gRPC message has {len(data):,} bytes")
    return _parsed(method, data, work, response=False)


def read_message(
    request: DecisionRequest, descriptors: Descriptors | None, work: WorkBudget, *, response: bool
) -> Document | None:
    """Parse one message of a call, without its frame.

    @param request: the authorization request of the message.
    @param response: whether the origin sent it.
    @return: C{None} if it cannot be read.
    @raise TooMuchWork: if it exceeds the work budget.
    """
    call = call_of(request.method, request.path, request.headers)
    if call is None or call.subtype != _PROTO or descriptors is None:
        return None
    method, content = descriptors.find(call.service, call.method), request.body or b""
    if method is None:
        return None
    work.spend(_PER_BYTE * len(content), f"its gRPC message has {len(content):,} bytes")
    found = _parsed(method, content, work, response=response)
    return found if isinstance(found, Document) else None


def _parsed(method: Method, data: bytes, work: WorkBudget, *, response: bool) -> Any:
    counted = _Values(work)
    try:
        value = method.decode(data, counted.spend, response=response)
    except InvalidMessage:
        return UNREADABLE
    return Document(value, work, marks=max(1, counted.number), what="gRPC message")


class _Values:
    """Counts the values of a message, and spends the work for them."""

    def __init__(self, work: WorkBudget) -> None:
        self.number = 0
        self._work = work

    def spend(self, number: int) -> None:
        self.number += number
        self._work.spend(_PER_VALUE * number, _CAUSE)
