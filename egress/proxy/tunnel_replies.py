"""What a tunnel sends outside of itself: the response to the request that opens it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from egress.http.error_response import encode_error_response
from egress.model.errors import EgressError
from egress.socks.codes import Reply
from egress.socks.requests import reply, reply_to

# The head of a 200 to a CONNECT has no Content-Length (RFC 9110 section 9.3.6); clients accept exactly 200.
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


@attrs.frozen
class TunnelReplies:
    """The responses to a request for a tunnel.

    @ivar established: the response if the tunnel is established; empty if the client expects none.
    @ivar refused: the response with an error, for the id of its record and the time; empty if the client expects none.
    """

    established: bytes
    refused: Callable[[EgressError, str, bytes], bytes]


def _http(error: EgressError, request_id: str, date: bytes) -> bytes:
    return encode_error_response(error, request_id, accept=None, head_only=False, keep_alive=False, date=date)


def _nothing(error: EgressError, request_id: str, date: bytes) -> bytes:
    return b""


def _socks(error: EgressError, request_id: str, date: bytes) -> bytes:
    return reply_to(error)


CONNECT_REPLIES: Final = TunnelReplies(ESTABLISHED, _http)
SOCKS_REPLIES: Final = TunnelReplies(reply(Reply.SUCCEEDED), _socks)
NO_REPLIES: Final = TunnelReplies(b"", _nothing)
