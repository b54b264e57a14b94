"""The forwarding of an exchange whose messages are authorized one by one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.interfaces import IDelayedCall

from egress.http.events import ForwardedHead, ResponseHead
from egress.messages.splitter import Inspection, Splitter
from egress.model.decision import Headers
from egress.model.errors import ClientDisconnected, EgressError
from egress.model.message import Direction
from egress.model.phases import SEND, WAIT
from egress.proxy.delimited_heads import delimited, delimited_request
from egress.proxy.forwarder import Forwarder
from egress.proxy.interfaces import ForwarderOwner, IClientStream
from egress.proxy.message_gate import MessageGate
from egress.proxy.message_inspector import MessageInspector
from egress.proxy.message_protocols import inspection_of_request, inspection_of_response, inspection_of_upgrade
from egress.proxy.outgoing_request import OutgoingRequest
from egress.proxy.request_body import RequestBody
from egress.proxy.transaction import Transaction
from egress.upstream.interfaces import IOriginStream

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

# The time in seconds in which the origin can close a WebSocket after the Close frame of the proxy.
PARTING_SECONDS: Final = 2.0


class InspectingForwarder(Forwarder):
    """Forwards one request and its response, with a gate for each direction that carries messages.

    The protocol of the messages follows from the request or from the response (L{egress.proxy.message_protocols}).
    Content that has no messages passes, as it does without message decisions.

    @param inspector: authorizes messages.
    """

    def __init__(
        self,
        inspector: MessageInspector,
        owner: ForwarderOwner,
        context: ProxyContext,
        transaction: Transaction,
        *,
        client: IClientStream,
        origin: IOriginStream,
        request: OutgoingRequest,
        content: RequestBody,
    ) -> None:
        super().__init__(owner, context, transaction, client=client, origin=origin, request=request, content=content)
        self._inspector = inspector
        # The memory for content is at least as large as this limit.
        size = min(inspector.terms.max_size, self._context.limits.body)
        self._terms = attrs.evolve(inspector.terms, max_size=size)
        self._inspection: Inspection | None = None
        self._to_origin: MessageGate | None = None
        self._to_client: MessageGate | None = None
        self._response_over = False
        self._parting: IDelayedCall | None = None

    def _gate(
        self, owner: _ToOrigin | _ToClient, splitter: Splitter | None, direction: Direction
    ) -> MessageGate | None:
        if splitter is None:
            return None
        assert self._inspection is not None
        kind = self._inspection.kind
        return MessageGate(self._context, self._inspector, owner, splitter, kind=kind, direction=direction)

    # -- request

    def _takes_content(self) -> bool:
        return super()._takes_content() and (self._to_origin is None or self._to_origin.wants_more)

    def begin(self, head: ForwardedHead) -> None:
        """See L{Forwarder.begin}.  Collected content passes the gate, too."""
        self._inspection = inspection = inspection_of_request(self._head, self._terms, self._inspector.request_id)
        if inspection is not None and self._head.framing.has_body:
            self._to_origin = self._gate(_ToOrigin(self), inspection.client, Direction.CLIENT)
        if self._to_origin is None:
            super().begin(head)
        else:
            recodes = inspection is not None and inspection.recodes
            self._begin_gated(delimited_request(head) if recodes else head, self._to_origin)

    def _begin_gated(self, head: ForwardedHead, gate: MessageGate) -> None:
        assert self._origin is not None
        self._watch()
        self._transaction.begin_phase(WAIT if self._content.over else SEND)
        collected, end = self._content.send_collected()
        self._content.sent = 0
        self._origin.send_request(self, head, b"", None)
        if collected:
            gate.receive(collected)
        if end is not None:
            gate.end(self._send_end)
        else:
            self._client.read_content()

    def body_data(self, data: bytes) -> None:
        """See L{Forwarder.body_data}."""
        gate = self._to_origin
        if gate is None:
            super().body_data(data)
        elif self._origin is not None and self._may_flow(len(data)):
            self._watch()
            self._content.streamed = True
            gate.receive(data)

    def body_end(self) -> None:
        """See L{Forwarder.body_end}."""
        if self._to_origin is None:
            super().body_end()
        else:
            self._to_origin.end(self._send_end)

    def pause_request(self) -> None:
        """See L{IResponseSink}."""
        if self._to_origin is None:
            super().pause_request()
        else:
            self._to_origin.hold()

    def resume_request(self) -> None:
        """See L{IResponseSink}."""
        if self._to_origin is None:
            super().resume_request()
        else:
            self._to_origin.release()

    # -- response

    def response_head(self, head: ResponseHead) -> None:
        """See L{IResponseSink}."""
        if not self._response_over:
            super().response_head(head)

    def _begin_response(self, head: ResponseHead) -> None:
        if head.framing.has_body:
            try:
                inspection = inspection_of_response(head, self._terms, self._inspection)
            except EgressError as error:
                self._fail(error)
                return
            if inspection is not None:
                self._inspection = inspection
                self._to_client = self._gate(_ToClient(self), inspection.origin, Direction.ORIGIN)
        super()._begin_response(head if self._to_client is None else delimited(head))

    def response_data(self, data: bytes) -> None:
        """See L{IResponseSink}."""
        if self._to_client is None:
            super().response_data(data)
        elif not self._response_over and self._may_flow(len(data)):
            self._watch()
            self._to_client.receive(data)

    def response_end(self, trailers: Headers) -> None:
        """See L{IResponseSink}.  The stream is not released before its messages are forwarded."""
        gate = self._to_client
        if gate is None:
            self._end_response(trailers)
        elif not self._response_over:
            self._response_over = True
            gate.end(partial(self._end_response, trailers))
            super().pause_response()

    def response_failed(self, error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """See L{IResponseSink}.  The messages that were complete before are still forwarded."""
        if self._response_over:
            if self._parting is not None and self._parting.active():
                self._parting.cancel()
            return
        self._response_over = True
        self._origin = None
        self._stop_waiting()
        if self._to_origin is not None:
            self._to_origin.stop()
        if self._to_client is None:
            unread = unread and not self._content.streamed
            self._owner.forwarding_failed(error, untouched=untouched, unread=unread)
        else:
            self._to_client.drain(partial(self._owner.forwarding_failed, error, untouched=untouched))

    def pause_response(self) -> None:
        """See L{Forwarder.pause_response}."""
        if self._to_client is None:
            super().pause_response()
        else:
            self._to_client.hold()

    def resume_response(self) -> None:
        """See L{Forwarder.resume_response}."""
        if self._to_client is None:
            super().resume_response()
        else:
            self._to_client.release()

    # -- after an upgrade

    def _switch(self, head: ResponseHead) -> None:
        if self._upgrade is not None:
            try:
                self._inspection = inspection = inspection_of_upgrade(head, self._upgrade, self._terms)
            except EgressError as error:
                self._fail(error)
                return
            self._to_origin = self._gate(_ToOrigin(self), inspection.client, Direction.CLIENT)
            self._to_client = self._gate(_ToClient(self), inspection.origin, Direction.ORIGIN)
        super()._switch(head)

    def response_switched(self, data: bytes) -> None:
        """See L{IResponseSink}."""
        if self._to_client is not None and not self._response_over and self._may_flow(len(data)):
            self._watch()
            self._to_client.receive(data)

    def switched_data(self, data: bytes) -> None:
        """See L{Forwarder.switched_data}."""
        if self._origin is not None and self._to_origin is not None and self._may_flow(len(data)):
            self._watch()
            self._to_origin.receive(data)

    def switched_end(self) -> bool:
        """See L{Forwarder.switched_end}.  The complete messages of the client are still forwarded."""
        gate, origin = self._to_origin, self._origin
        if gate is None or gate.idle or origin is None:
            return False
        authority = origin.route.origin.authority
        gate.drain(partial(self._fail, ClientDisconnected(f"the client closed its WebSocket with {authority}")))
        return True

    # -- for the gates

    def forward_to_origin(self, data: bytes) -> None:
        """Forward bytes of the client whose messages are allowed."""
        if self._origin is not None:
            self._content.stream(data)
            self._origin.send_content(data)

    def forward_to_client(self, data: bytes) -> None:
        """Forward bytes of the origin whose messages are allowed."""
        self.received += len(data)
        self._client.send_data(data)
        self._client.flush()

    def pause_client(self) -> None:
        """Read nothing more from the client.  Content is read only while it is wanted."""
        if self._switched:
            super().pause_request()

    def resume_client(self) -> None:
        """Read from the client again."""
        if self._switched:
            self._request_paused = False
        self._read_client()

    def pause_origin(self) -> None:
        """Read nothing more from the origin."""
        super().pause_response()

    def resume_origin(self) -> None:
        """Read from the origin again."""
        if not self._response_over:
            self._response_paused = False
            self._read_origin()

    def messages_failed(self, error: EgressError) -> None:
        """End both sides, because a message is not forwarded."""
        inspection = self._inspection
        assert inspection is not None
        if self.status is None:
            self._fail(error)
            return
        self._stop_gates()
        ending = inspection.ending(error)
        if ending.client:
            self._client.send_data(ending.client)
        if not self._switched:
            self._client.send_end(ending.trailers)
        self._client.flush()
        origin, self._origin = self._origin, None
        self._response_over = True
        if origin is not None and ending.origin:
            # The server closes a WebSocket first (RFC 6455 section 7.1.1).
            origin.send_content(ending.origin)
            origin.resume()
            self._parting = self._context.clock.callLater(PARTING_SECONDS, origin.close)
        elif origin is not None:
            origin.abort()
        self._owner.forwarded(error)

    def end_messages(self, error: EgressError) -> bool:
        """See L{Forwarder.end_messages}."""
        if self.status is None or self._to_client is None:
            return False
        self.messages_failed(error)
        return True

    def _stop_gates(self) -> None:
        for gate in (self._to_origin, self._to_client):
            if gate is not None:
                gate.stop()

    def drop(self) -> None:
        """See L{Forwarder.drop}."""
        self._stop_gates()
        super().drop()


class _ToOrigin:
    """The ends of the gate for the messages of the client."""

    def __init__(self, forwarder: InspectingForwarder) -> None:
        self._forwarder = forwarder

    def forward(self, data: bytes) -> None:
        self._forwarder.forward_to_origin(data)

    def pause_source(self) -> None:
        self._forwarder.pause_client()

    def resume_source(self) -> None:
        self._forwarder.resume_client()

    def messages_failed(self, error: EgressError) -> None:
        self._forwarder.messages_failed(error)


class _ToClient:
    """The ends of the gate for the messages of the origin."""

    def __init__(self, forwarder: InspectingForwarder) -> None:
        self._forwarder = forwarder

    def forward(self, data: bytes) -> None:
        self._forwarder.forward_to_client(data)

    def pause_source(self) -> None:
        self._forwarder.pause_origin()

    def resume_source(self) -> None:
        self._forwarder.resume_origin()

    def messages_failed(self, error: EgressError) -> None:
        self._forwarder.messages_failed(error)


def forwarder_for(
    owner: ForwarderOwner,
    context: ProxyContext,
    transaction: Transaction,
    *,
    client: IClientStream,
    origin: IOriginStream,
    request: OutgoingRequest,
    content: RequestBody,
) -> Forwarder:
    """Create the forwarder of an exchange; see L{Forwarder}."""
    if transaction.inspector is None:
        return Forwarder(owner, context, transaction, client=client, origin=origin, request=request, content=content)
    return InspectingForwarder(
        transaction.inspector,
        owner,
        context,
        transaction,
        client=client,
        origin=origin,
        request=request,
        content=content,
    )
