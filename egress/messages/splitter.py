"""The interface of a protocol whose messages are authorized one by one.

A L{Splitter} divides the bytes of one direction into pieces.  The gate (L{egress.proxy.message_gate}) authorizes the
message of each piece, and forwards the original bytes.  An L{Inspection} is the protocol of one exchange.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from egress.model.decision import Headers
from egress.model.errors import EgressError
from egress.model.message import MessageKind


# Created for each message; creating a frozen class with slots takes twice as long.
@attrs.frozen(slots=False)
class Piece:
    """Bytes of one direction that are forwarded together.

    @ivar data: the original bytes.
    @ivar type: the type of the message in C{data} (L{egress.model.message.Message.type}); C{None}: there is no message
        to authorize.
    @ivar content: the decoded content of the message.
    @ivar overtakes: whether the piece is forwarded immediately, ahead of messages that wait for a decision.
    """

    data: bytes
    type: str | None = None
    content: bytes = b""
    overtakes: bool = False


class Splitter(Protocol):
    """Divides the bytes of one direction into pieces.

    The pieces, in order, are all bytes that were received; only pieces that overtake others can be out of order.
    """

    @property
    def held(self) -> int:
        """The number of bytes in memory that are not part of a piece yet."""

    def receive(self, data: bytes) -> None:
        """Add bytes."""

    def receive_end(self) -> None:
        """Handle the end of the direction: L{next_piece} returns the remaining bytes, or raises an error."""

    def next_piece(self) -> Piece | None:
        """Return the next piece, or C{None} if it is not complete.

        @raise egress.model.errors.MessageInvalid: if the bytes do not conform to the protocol.
        @raise egress.model.errors.MessageTooLarge: if a message exceeds the limit.
        """


@attrs.frozen
class Ending:
    """The last bytes that tell both sides why their messages end.

    They follow complete pieces.

    @ivar client: content for the client.
    @ivar origin: content for the origin; empty: the origin stream is aborted.
    @ivar trailers: the trailers of the response.
    """

    client: bytes = b""
    origin: bytes = b""
    trailers: Headers = ()


class Inspection(Protocol):
    """The protocol of one exchange whose messages are authorized."""

    @property
    def kind(self) -> MessageKind:
        """The protocol."""

    @property
    def client(self) -> Splitter | None:
        """The splitter for the messages of the client; C{None}: they pass."""

    @property
    def origin(self) -> Splitter | None:
        """The splitter for the messages of the origin; C{None}: they pass."""

    def ending(self, error: EgressError) -> Ending:
        """Return the last bytes for both sides.

        @param error: the reason: L{egress.model.errors.MessageDenied}, or another error.
        """
