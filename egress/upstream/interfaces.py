"""The interface between an exchange and its origin, independent of the HTTP version towards the origin.

An HTTP/1 connection is one stream after the other; a connection of a later version carries several streams side by
side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from typing import Protocol as Structure

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from egress.http.events import End, ForwardedHead, ResponseHead
    from egress.model.decision import Headers
    from egress.model.errors import EgressError
    from egress.model.phases import Mark
    from egress.model.route import Destination, Route


class IResponseSink(Interface):
    """Receives the response, and flow control signals for the request."""

    def response_head(head: ResponseHead) -> None:
        """Process an interim or the final head."""

    def response_data(data: bytes) -> None:
        """Process content."""

    def response_end(trailers: Headers) -> None:
        """The response is complete."""

    def response_flush() -> None:
        """No further event follows for now: write the buffered data."""

    def response_failed(error: EgressError, *, untouched: bool, unread: bool = False) -> None:
        """The stream failed.

        @param error: the error.
        @param untouched: whether the connection was lost before any byte of the response was received.
        @param unread: whether the origin states that it has not processed the request.
        """

    def response_switched(data: bytes) -> None:
        """Process bytes of the new protocol, after a 101 response."""

    def pause_request() -> None:
        """Stop sending: the origin does not keep up."""

    def resume_request() -> None:
        """Continue sending."""


class IOriginStream(Interface):
    """The origin's side of one exchange."""

    route: Route = Attribute("The route of the connection; its addresses were checked when it was opened.")
    hop: Destination = Attribute("The destination of the connection.")
    reused: bool = Attribute("Whether the connection carried another exchange before.")
    logged_in: bool = Attribute(
        "Whether credentials that the origin ties to the connection were sent over it (RFC 4559)."
    )
    reusable: bool = Attribute("Whether the connection can carry another exchange: this one is complete on both sides.")
    transport: object = Attribute("The transport, which a relay can take over after an upgrade.")

    def log_in() -> None:
        """Note that the request carries credentials that the origin ties to the connection (RFC 4559)."""

    def send_request(sink: IResponseSink, head: ForwardedHead, content: bytes, end: End | None) -> None:
        """Send a request.

        @param sink: receives the response.
        @param head: the head of the request.
        @param content: the content that is available.
        @param end: the end of the content; C{None} if more content follows with L{send_content}.
        """

    def send_content(content: bytes, end: End | None = None) -> None:
        """Send further content of the request, or further data after an upgrade.

        @param content: the content, or the data.
        @param end: the end of the content; C{None} if more content follows.
        """

    def pause() -> None:
        """Stop reading the response: the client does not keep up."""

    def resume() -> None:
        """Continue reading the response."""

    def end_writing() -> bool:
        """Close the writing direction, after an upgrade.

        @return: whether that is possible.
        """

    def close() -> None:
        """Close the stream after the written data is sent. The sink gets no further events."""

    def abort() -> None:
        """Abort the stream. The sink gets no further events."""


class StreamOpener(Structure):
    """Opens streams to origins; L{egress.upstream.origins.Origins} is the implementation."""

    def open(
        self,
        route: Route,
        client: str = "",
        phases: list[Mark] | None = None,
        *,
        key: tuple[object, ...] | None = None,
        http2: bool = False,
        prior_knowledge: bool = False,
    ) -> Deferred[Any]:
        """Open a stream along a route.

        @return: fires with an L{IOriginStream}.
        """
