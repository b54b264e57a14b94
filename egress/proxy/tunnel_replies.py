"""What a tunnel sends outside of itself: the response to the request that opens it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from typing import Protocol as Structure

import attrs

from egress.http.error_response import encode_error_response
from egress.model.errors import EgressError
from egress.socks.codes import Reply
from egress.socks.requests import reply, reply_to

if TYPE_CHECKING:
    from egress.proxy.interfaces import IClientConnection

# The head of a 200 to a CONNECT has no Content-Length (RFC 9110 section 9.3.6); clients accept exactly 200.
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


class TunnelReplies(Structure):
    """The responses to a request for a tunnel."""

    def establish(self, outer: IClientConnection) -> None:
        """Respond that the tunnel is established, if the client expects a response."""

    def refuse(self, outer: IClientConnection, error: EgressError, request_id: str, date: bytes) -> bool:
        """Respond with an error.

        @param request_id: the id of its record.
        @param date: the time.
        @return: whether the client expects a response.
        """


@attrs.frozen
class WrittenReplies:
    """Responses that are written to the connection of the tunnel.

    @ivar established: the response if the tunnel is established; empty if the client expects none.
    @ivar refused: the response with an error, for the id of its record and the time; empty if the client expects none.
    """

    established: bytes
    refused: Callable[[EgressError, str, bytes], bytes]

    def establish(self, outer: IClientConnection) -> None:
        """See L{TunnelReplies.establish}."""
        outer.write(self.established)

    def refuse(self, outer: IClientConnection, error: EgressError, request_id: str, date: bytes) -> bool:
        """See L{TunnelReplies.refuse}."""
        response = self.refused(error, request_id, date)
        outer.write(response)
        return bool(response)


def _http(error: EgressError, request_id: str, date: bytes) -> bytes:
    return encode_error_response(error, request_id, accept=None, head_only=False, keep_alive=False, date=date)


def _nothing(error: EgressError, request_id: str, date: bytes) -> bytes:
    return b""


def _socks(error: EgressError, request_id: str, date: bytes) -> bytes:
    return reply_to(error)


CONNECT_REPLIES: Final = WrittenReplies(ESTABLISHED, _http)
SOCKS_REPLIES: Final = WrittenReplies(reply(Reply.SUCCEEDED), _socks)
NO_REPLIES: Final = WrittenReplies(b"", _nothing)
