"""Messages inside an exchange, each of which is authorized if the decision on the exchange requires it."""

from __future__ import annotations

import enum
from typing import Final

import attrs

KIB: Final = 1024
# The fields about the content of a request whose names do not begin with Content- (RFC 9110 section 8, RFC 9530).
_OF_CONTENT: Final = frozenset({b"digest", b"repr-digest", b"want-repr-digest", b"transfer-encoding", b"trailer"})

_Fields = tuple[tuple[bytes, bytes], ...]


class MessageKind(enum.Enum):
    """The protocol of a message.

    @cvar WEBSOCKET: a message of a WebSocket (RFC 6455).
    @cvar SSE: an event of an event stream (C{text/event-stream}).
    @cvar GRPC: a message of a gRPC call.
    """

    WEBSOCKET = "websocket"
    SSE = "sse"
    GRPC = "grpc"


class Direction(enum.Enum):
    """The sender of a message."""

    CLIENT = "client"
    ORIGIN = "origin"


BOTH: Final = frozenset(Direction)
"""Both directions."""

DEFAULT_MAX_SIZE: Final = 1024 * KIB
"""The maximum size of a message in bytes, if the decision sets none."""


@attrs.frozen
class MessageObligation:
    """The obligation to authorize each message of an exchange.

    @ivar directions: the senders whose messages are authorized; the messages of others pass.
    @ivar max_size: the maximum size of a message in bytes, decompressed.
    """

    directions: frozenset[Direction] = BOTH
    max_size: int = DEFAULT_MAX_SIZE


def obligation_fault(obligation: object) -> str | None:
    """Validate the obligation, which may come from third-party code.

    @return: the error; C{None} if it is valid.
    """
    if obligation is None:
        return None
    if not isinstance(obligation, MessageObligation):
        return "messages is not a MessageObligation object"
    directions: object = obligation.directions
    if not isinstance(directions, frozenset) or not directions or not directions <= BOTH:
        return "the directions of messages are not a non-empty set of directions"
    size: object = obligation.max_size
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        return "the maximum size of messages is not a positive integer"
    return None


def message_headers(headers: _Fields, kind: MessageKind) -> _Fields:
    """Return the fields of a request for the authorization of its messages.

    Fields about the content of the request do not describe a message.  Only the content type of a gRPC call is that of
    its messages, in both directions.
    """
    if kind is MessageKind.GRPC:
        return headers
    return tuple(field for field in headers if not _is_about_content(field[0]))


def _is_about_content(name: bytes) -> bool:
    # Some servers read an underscore as a hyphen.
    name = name.lower().replace(b"_", b"-")
    return name.startswith(b"content-") or name in _OF_CONTENT


@attrs.frozen
class Message:
    """The attributes of a message that is authorized; its content is the content of the authorization request.

    @ivar kind: the protocol.
    @ivar direction: the sender.
    @ivar type: for a WebSocket, C{text} or C{binary}; for an event stream, the name of the event.
    @ivar sequence: the number of the message among the messages of its sender in this exchange, from 1.
    @ivar rule_id: the rule that allowed the exchange, if the authorizer names rules.
    """

    kind: MessageKind
    direction: Direction
    type: str
    sequence: int
    rule_id: str | None = None
