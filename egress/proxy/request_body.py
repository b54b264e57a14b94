"""The content of a request: what was read of it before the decision, and how it goes on the wire."""

from __future__ import annotations

from egress.http.body import BodyKind, Framing, encode_chunk
from egress.http.hop_by_hop import encode_fields
from egress.http.obligations import drop_trailers
from egress.model.decision import Headers
from egress.model.errors import ContentTooLarge


class RequestBody:
    """Content on its way from the client to the origin.

    @param limit: bytes to collect for an authorizer that looks at contents.
    @ivar announced: how long it is, as the head says: 0 without content, C{None} when only its end will tell.
    @ivar hidden: plain names of trailers that are not passed on.
    @ivar over: whether the client has sent all of it.
    @ivar streamed: whether some went to the origin without being kept, so that it cannot be sent again.
    @ivar sent: content bytes that went to the origin.
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
        """How long it is, as far as that is known: all of it may have come without an announcement."""
        return self._size if self.announced is None and self.over and not self.streamed else self.announced

    @property
    def announced_oversize(self) -> bool:
        """Whether the head announces more than the limit."""
        return self._framing.kind is BodyKind.LENGTH and self._framing.length > self._limit

    @property
    def withheld(self) -> bool:
        """Whether there is content of which nothing was read."""
        return not (self.over or self._pieces or self.announced == 0)

    @property
    def size(self) -> int:
        """How many bytes were collected."""
        return self._size

    @property
    def trailer_size(self) -> int:
        """How many bytes of trailers follow the content."""
        return len(self._encoded_trailers()) if self._trailers else 0

    @property
    def collected_size(self) -> int:
        """How many bytes of content and trailers were collected."""
        return self._size + self.trailer_size

    @property
    def oversize(self) -> bool:
        """Whether more than the limit was collected."""
        return self._size > self._limit

    def too_large(self) -> ContentTooLarge:
        """The fault of content that is over the limit."""
        return ContentTooLarge(
            f"the content is over the {self._limit} bytes that are put to the authorizer; "
            "the operator can raise --body-limit"
        )

    @property
    def collected(self) -> bool:
        """Whether content was kept for the decision."""
        return bool(self._pieces)

    def collect(self, data: bytes) -> None:
        """Keep content for the decision."""
        self._pieces.append(data)
        self._size += len(data)

    def for_decision(self) -> bytes | None:
        """What the authorizer gets to see: at most the limit; C{None} when there is nothing."""
        if not self._pieces:
            return None
        self._pieces = [b"".join(self._pieces)]
        return self._pieces[0][: self._limit]

    def finish(self, trailers: Headers) -> None:
        """The client has sent all of it."""
        self.over = True
        self._trailers = trailers

    def encode_collected(self) -> bytes:
        """What was kept, as it goes on the wire, with the end if it is over.  It can be asked for again."""
        data = b"".join(self._pieces)
        self.sent = len(data)
        encoded = self._encode(data) if data else b""
        return encoded + self.encode_end() if self.over else encoded

    def encode(self, data: bytes) -> bytes:
        """Content that is passed on as it comes."""
        self.streamed = True
        self.sent += len(data)
        return self._encode(data)

    def _encode(self, data: bytes) -> bytes:
        return encode_chunk(data) if self._chunked else data

    def encode_end(self) -> bytes:
        """What marks the end on the wire."""
        if not self._chunked:
            return b""
        return b"0\r\n%b\r\n" % self._encoded_trailers()

    def _encoded_trailers(self) -> bytes:
        return encode_fields(drop_trailers(self._trailers, self.hidden) if self.hidden else self._trailers)

    def forget(self) -> None:
        """Let go of what was kept."""
        self._pieces.clear()
