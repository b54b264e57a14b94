"""The content of a request: the part collected for the decision, and its encoding for the origin."""

from __future__ import annotations

from egress.http.body import BodyKind, Framing, encode_chunk
from egress.http.hop_by_hop import encode_fields
from egress.http.obligations import drop_trailers
from egress.model.decision import Headers
from egress.model.errors import ContentTooLarge


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
        self._chunked = framing.kind is BodyKind.CHUNKED
        self._framing = framing
        self.announced = None if self._chunked else framing.length
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._trailers: Headers = ()
        self.hidden: frozenset[bytes] = frozenset()

    @property
    def length(self) -> int | None:
        """The length, if known. Content without an announced length may have been received completely."""
        return self._size if self.announced is None and self.over and not self.streamed else self.announced

    @property
    def announced_oversize(self) -> bool:
        """Whether the announced length exceeds the limit."""
        return self._framing.kind is BodyKind.LENGTH and self._framing.length > self._limit

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
        """The encoded size of the trailers."""
        return len(self._encoded_trailers()) if self._trailers else 0

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
        return ContentTooLarge(
            f"the content is over the {self._limit} bytes that are put to the authorizer; "
            "the operator can raise --body-limit"
        )

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

    def finish(self, trailers: Headers) -> None:
        """Handle the end of the content."""
        self.over = True
        self._trailers = trailers

    def encode_collected(self) -> bytes:
        """Encode the collected content, and its end if it is complete. Can be called again for a retry."""
        data = b"".join(self._pieces)
        self.sent = len(data)
        encoded = self._encode(data) if data else b""
        return encoded + self.encode_end() if self.over else encoded

    def encode(self, data: bytes) -> bytes:
        """Encode content that is forwarded without being collected."""
        self.streamed = True
        self.sent += len(data)
        return self._encode(data)

    def _encode(self, data: bytes) -> bytes:
        return encode_chunk(data) if self._chunked else data

    def encode_end(self) -> bytes:
        """Encode the end of the content."""
        if not self._chunked:
            return b""
        return b"0\r\n%b\r\n" % self._encoded_trailers()

    def _encoded_trailers(self) -> bytes:
        return encode_fields(drop_trailers(self._trailers, self.hidden) if self.hidden else self._trailers)

    def forget(self) -> None:
        """Discard the collected content."""
        self._pieces.clear()
