"""The client's side of one HTTP/1 exchange: the encoding of its response (RFC 9112)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zope.interface import classImplements

from egress.grpc.call import kind_of_request
from egress.http.body import encode_chunk, encode_last_chunk
from egress.http.error_response import encode_error_response
from egress.http.events import BodyKind, RequestHead, ResponseHead
from egress.http.upgrade import Upgrade
from egress.http.writers import encode_interim, encode_response, encode_switch, response_framing
from egress.model.decision import Headers
from egress.model.errors import EgressError, outcome_of
from egress.proxy.interfaces import IClientStream, IHttp1Connection
from egress.transport.tcp import unshared

if TYPE_CHECKING:
    from egress.proxy.context import ProxyContext

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_DELIMITED: Final = BodyKind.DELIMITED
_UNTIL_CLOSE: Final = BodyKind.UNTIL_CLOSE

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Http1Stream:
    """One request of an HTTP/1 connection, and its response.

    @param request: the head of the request.
    """

    __slots__ = ("_chunked", "_connection", "_context", "_keep_alive", "_out", "_request", "logins", "watch")

    def __init__(self, connection: IHttp1Connection, context: ProxyContext, request: RequestHead) -> None:
        self.logins = connection.logins
        # Set for each piece of content, so without a call in between.
        self.watch = connection.watch
        self._connection = connection
        self._context = context
        self._request = request
        self._chunked = False
        self._keep_alive = False
        self._out: list[bytes] = []

    @property
    def backpressured(self) -> bool:
        """See L{IClientStream}."""
        return self._connection.backpressured

    @property
    def transport(self) -> object:
        """See L{IClientStream}."""
        return unshared(self._connection.transport)

    @property
    def can_send_trailers(self) -> bool:
        """See L{IClientStream}."""
        return self._chunked

    # -- request

    def read_content(self) -> None:
        """See L{IClientStream.read_content}."""
        self._connection.advance()

    def send_continue(self) -> None:
        """See L{IClientStream.send_continue}."""
        self._connection.write(CONTINUE)

    # -- response

    def send_interim(self, head: ResponseHead) -> None:
        """See L{IClientStream.send_interim}."""
        self._connection.write(encode_interim(head))

    def send_head(self, head: ResponseHead, *, last: bool) -> None:
        """See L{IClientStream.send_head}."""
        framing = response_framing(head, self._request)
        self._chunked = framing.kind is _DELIMITED
        self._keep_alive = (
            not last and framing.kind is not _UNTIL_CLOSE and self._connection.may_keep_alive(self._request)
        )
        self._out.append(encode_response(head, self._request, framing, keep_alive=self._keep_alive))

    def send_data(self, data: bytes) -> None:
        """See L{IClientStream.send_data}."""
        self._out.append(encode_chunk(data) if self._chunked else data)

    def send_end(self, trailers: Headers) -> None:
        """See L{IClientStream.send_end}."""
        if self._chunked:
            self._out.append(encode_last_chunk(trailers))

    def flush(self) -> None:
        """See L{IClientStream.flush}."""
        if self._out:
            out, self._out = self._out, []
            self._connection.write(out[0] if len(out) == 1 else b"".join(out))

    # -- end

    def finish(self) -> None:
        """See L{IClientStream.finish}."""
        self._connection.response_over(self._request, keep_alive=self._keep_alive)

    def fail(self, error: EgressError, request_id: str) -> None:
        """See L{IClientStream.fail}."""
        connection, request = self._connection, self._request
        if outcome_of(error).status is None:
            connection.abort()
            return
        keep_alive = connection.request_over(request) and connection.may_keep_alive(request)
        connection.write(
            encode_error_response(
                error,
                request_id,
                accept=request.accept,
                head_only=request.method == "HEAD",
                keep_alive=keep_alive,
                date=self._context.date(),
                grpc=kind_of_request(request.method, request.headers),
            )
        )
        connection.response_over(request, keep_alive=keep_alive)

    def reset(self) -> None:
        """See L{IClientStream.reset}."""
        self._connection.abort()

    # -- after an upgrade

    def switch(self, head: ResponseHead, upgrade: Upgrade) -> None:
        """See L{IClientStream.switch}."""
        self._connection.write(encode_switch(head, upgrade))

    def relay(self) -> None:
        """See L{IClientStream.relay}."""
        self._connection.relay()

    def pause(self) -> None:
        """See L{IClientStream.pause}."""
        self._connection.pause_reading()

    def resume(self) -> None:
        """See L{IClientStream.resume}."""
        self._connection.resume_reading()


# The decorator C{implementer} would make it an interpreted class.
classImplements(Http1Stream, IClientStream)
