"""The messages of gRPC and gRPC-Web calls, for decisions on each of them."""

from __future__ import annotations

import base64
from typing import Final

from egress.grpc.call import Kind
from egress.grpc.error_status import error_trailers, web_trailers
from egress.grpc.framing import FrameReader, MalformedFrame, TextDecoder
from egress.grpc.framing import MessageTooLarge as FrameTooLarge
from egress.grpc.messages import decompress, encoding_of
from egress.http.events import RequestHead, ResponseHead
from egress.messages.splitter import Ending, Piece, Splitter
from egress.model.decision import Headers
from egress.model.errors import EgressError, MessageInvalid, MessageTooLarge
from egress.model.message import Direction, MessageKind, MessageObligation

# The kind of a message: the proxy does not read its fields here.
_TYPE: Final = "message"


class GrpcSplitter:
    """Divides the content of one direction into messages; see L{Splitter}.

    The pieces of C{application/grpc-web-text} are encoded in base64 again, each on its own.

    @param max_size: the maximum size of a message in bytes, decompressed.
    @param kind: the kind of the call.
    @param headers: the header fields of the direction, which name the compression.
    """

    def __init__(self, max_size: int, kind: Kind, headers: Headers) -> None:
        self._max_size = max_size
        self._encoding = encoding_of(headers)
        self._reader = FrameReader(max_size, web=kind is not Kind.GRPC)
        self._text = TextDecoder() if kind is Kind.WEB_TEXT else None
        self._fault: MalformedFrame | None = None
        self._ended = False

    @property
    def held(self) -> int:
        """See L{Splitter.held}."""
        return self._reader.buffered

    def receive(self, data: bytes) -> None:
        """See L{Splitter.receive}."""
        try:
            self._reader.feed(data if self._text is None else self._text.decode(data))
        except MalformedFrame as error:
            self._fault = error

    def receive_end(self) -> None:
        """See L{Splitter.receive_end}."""
        self._ended = True

    def next_piece(self) -> Piece | None:
        """See L{Splitter.next_piece}."""
        try:
            if self._fault is not None:
                raise self._fault
            frame = self._reader.next_frame()
            if frame is None:
                if self._ended:
                    self._finish()
                return None
            content = frame.data
            if frame.compressed and not frame.is_trailers:
                content = decompress(content, self._encoding, self._max_size)
        except FrameTooLarge as error:
            raise MessageTooLarge(f"the gRPC message is too large: {error}") from None
        except MalformedFrame as error:
            raise MessageInvalid(f"the gRPC message cannot be authorized: {error}") from None
        data = frame.encode() if self._text is None else base64.b64encode(frame.encode())
        return Piece(data) if frame.is_trailers else Piece(data, _TYPE, content)

    def _finish(self) -> None:
        if self._text is not None:
            self._text.finish()
        self._reader.finish()


class GrpcInspection:
    """See L{egress.messages.splitter.Inspection}.

    @param head: the head of the request.
    @param kind: the kind of the call.
    @param terms: the messages to authorize.
    @param request_id: the id of the exchange, for the status.
    @ivar recodes: whether the pieces are encoded again, so that their length can differ from that of the content.
    """

    kind = MessageKind.GRPC

    def __init__(self, head: RequestHead, kind: Kind, terms: MessageObligation, request_id: str) -> None:
        self.recodes = kind is Kind.WEB_TEXT
        self._kind = kind
        self._terms = terms
        self._request_id = request_id
        self.client: Splitter | None = self._splitter(Direction.CLIENT, head.headers)
        self.origin: Splitter | None = None

    def _splitter(self, direction: Direction, headers: Headers) -> Splitter | None:
        if direction not in self._terms.directions:
            return None
        return GrpcSplitter(self._terms.max_size, self._kind, headers)

    def begin_response(self, head: ResponseHead) -> None:
        """Read the messages of the origin, whose head names their compression."""
        self.origin = self._splitter(Direction.ORIGIN, head.headers)

    def ending(self, error: EgressError) -> Ending:
        """End the call with the status of the error."""
        trailers = error_trailers(error, self._request_id)
        if self._kind is Kind.GRPC:
            return Ending(trailers=tuple(trailers))
        return Ending(client=web_trailers(trailers, self._kind))
