"""The content of a request: the part collected for the decision, and the counts of content sent to the origin."""

from __future__ import annotations

from typing import Final

from egress.http.events import END, BodyKind, End, Framing
from egress.http.hop_by_hop import fields_size
from egress.http.obligations import drop_trailers
from egress.model.errors import ContentTooLarge

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_LENGTH: Final = BodyKind.LENGTH
_DELIMITED: Final = BodyKind.DELIMITED


def content_too_large(limit: int) -> ContentTooLarge:
    """Return the error for content that exceeds a limit.

    @param limit: the maximum number of bytes that are collected for the authorizer.
    """
    return ContentTooLarge(
        f"the content is longer than the {limit} bytes that an authorizer can receive; the operator can increase "
        "--body-limit, or set --authz-body on-demand if the authorization service decides without the content"
    )


class RequestBody:
    """The content of one request, on its way from the client to the origin.

    @param limit: the maximum number of bytes that are collected for the authorizer.
    @ivar announced: the length according to the head: 0 without content, C{None} if it is unknown until the end.
    @ivar hidden: canonical names of trailers that are not forwarded.
    @ivar over: whether the client has sent all of it.
    @ivar streamed: whether a part was sent to the origin without being collected, so that the request cannot be
        retried.
    @ivar sent: content bytes sent to the origin.
    """

    def __init__(self, framing: Framing, limit: int) -> None:
        self.over = not framing.has_body
        self.streamed = False
        self.sent = 0
        self._framing = framing
        self.announced = None if framing.kind is _DELIMITED else framing.length
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._end = END
        self.hidden: frozenset[bytes] = frozenset()

    @property
    def length(self) -> int | None:
        """The length, if known. Content without an announced length may have been received completely."""
        return self._size if self.announced is None and self.over and not self.streamed else self.announced

    @property
    def announced_oversize(self) -> bool:
        """Whether the announced length exceeds the limit."""
        return self._framing.kind is _LENGTH and self._framing.length > self._limit

    @property
    def withheld(self) -> bool:
        """Whether there is content of which nothing was read."""
        return not (self.over or self._pieces or self.announced == 0)

    @property
    def size(self) -> int:
        """The number of content bytes collected."""
        return self._size

    @property
    def trailer_size(self) -> int:
        """The size of the trailers."""
        return fields_size(self.end.trailers) if self._end.trailers else 0

    @property
    def collected_size(self) -> int:
        """The number of bytes of collected content and trailers."""
        return self._size + self.trailer_size

    @property
    def oversize(self) -> bool:
        """Whether the collected content exceeds the limit."""
        return self._size > self._limit

    def too_large(self) -> ContentTooLarge:
        """The error for content that exceeds the limit."""
        return content_too_large(self._limit)

    @property
    def collected(self) -> bool:
        """Whether content was collected."""
        return bool(self._pieces)

    def collect(self, data: bytes) -> None:
        """Collect content for the decision."""
        self._pieces.append(data)
        self._size += len(data)

    def for_decision(self) -> bytes | None:
        """The content for the authorizer, truncated to the limit; C{None} if there is none."""
        if not self._pieces:
            return None
        self._pieces = [b"".join(self._pieces)]
        return self._pieces[0][: self._limit]

    def finish(self, end: End) -> None:
        """Handle the end of the content."""
        self.over = True
        self._end = end

    @property
    def end(self) -> End:
        """The end of the content, without the hidden trailers."""
        end = self._end
        return End(drop_trailers(end.trailers, self.hidden)) if self.hidden and end.trailers else end

    def send_collected(self) -> tuple[bytes, End | None]:
        """Count the collected content as sent. Can be called again for a retry.

        @return: the content, and its end if it is complete.
        """
        data = b"".join(self._pieces)
        self.sent = len(data)
        return data, self.end if self.over else None

    def stream(self, data: bytes) -> None:
        """Count content that is sent without being collected."""
        self.streamed = True
        self.sent += len(data)

    def forget(self) -> None:
        """Discard the collected content."""
        self._pieces.clear()
