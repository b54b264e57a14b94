"""The incremental readers of HTTP/1 messages, which turn bytes into events.

The caller pulls events: it requests the next event when it can process it, so that a connection that waits for a
decision parses nothing ahead. The readers find the end of a head, with limits that apply from the first byte; only a
complete head is parsed.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from string import ascii_letters, digits
from typing import Final

from egress.http.body import Body, ChunkedBody, LengthBody, MalformedBody, UntilCloseBody
from egress.http.events import END, BodyKind, End, Framing, RequestHead, ResponseHead
from egress.http.field_lines import LastFields
from egress.http.heads import HeadLimits, parse_request_head, parse_response_head
from egress.model.errors import (
    BadRequest,
    ClientError,
    EgressError,
    HeadTooLarge,
    OriginHttp2Only,
    OriginProtocolError,
    TargetTooLong,
)

# CPython 3.11 takes six times as long to look up a member of an enum as a name of the module.
_LENGTH: Final = BodyKind.LENGTH
_DELIMITED: Final = BodyKind.DELIMITED
_UNTIL_CLOSE: Final = BodyKind.UNTIL_CLOSE
_BARE = re.compile(rb"(?<!\r)\n|\r[^\n]")
_BARE_ERROR: Final = "a line of the head ends with a bare carriage return or line feed instead of CRLF"
_METHOD_STARTS: Final = frozenset(b"!#$%&'*+-.^_`|~" + (ascii_letters + digits).encode("ascii"))
# A request line without an end after the longest target, method and version is never valid.
_LINE_SLACK: Final = 80
_MAX_EMPTY_LINES: Final = 4

# The size of an HTTP/2 frame header (RFC 9113 section 4.1).
_FRAME_HEAD: Final = 9


class _HeadBuffer:
    """The data that was received and not parsed yet. It finds the end of a head in linear time, however the data
    arrives.

    @param fault: creates the error for data that cannot be a head.
    """

    def __init__(self, fault: Callable[[str], EgressError]) -> None:
        self.data = b""
        self._fault = fault
        self._searched = 0

    def append(self, data: bytes) -> None:
        self.data = self.data + data if self.data else data

    def take_head(self, limit: int) -> bytes | None:
        """Remove and return the next head, including its empty line; C{None} if it is incomplete.

        @param limit: the maximum size of a head; data beyond it is not searched.
        @raise EgressError: if a line does not end with CRLF. The sender may consider the head complete, and would wait
            for a response until a timeout.
        """
        end = self.data.find(b"\r\n\r\n", self._searched)
        if end < 0:
            if _BARE.search(self.data, self._searched, limit):
                raise self._fault(_BARE_ERROR)
            self._searched = max(0, len(self.data) - 3)
            return None
        head, self.data = self.data[: end + 4], self.data[end + 4 :]
        self._searched = 0
        return head

    def take_all(self) -> bytes:
        """Remove and return all data."""
        data, self.data = self.data, b""
        self._searched = 0
        return data


class RequestReader:
    """Reads the requests of one client connection.

    L{next_event} returns a L{RequestHead}, then, if it announces content, C{bytes} and an L{End}, then the next head.
    """

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._line_limit = limits.target + _LINE_SLACK
        self._fields = LastFields(limits.fields)
        self._buffer = _HeadBuffer(BadRequest)
        self._body: Body | None = None
        self._empty_lines = 0

    @property
    def buffered(self) -> int:
        """The number of bytes received and not consumed."""
        return len(self._buffer.data)

    def receive(self, data: bytes) -> None:
        """Add data from the client."""
        self._buffer.append(data)

    def take_remaining(self) -> bytes:
        """Remove and return the data after the last event: the data that follows a CONNECT or an upgrade."""
        return self._buffer.take_all()

    def next_event(self) -> RequestHead | bytes | End | None:
        """Return the next event, or C{None} if more data is needed.

        @raise ClientError: if the data is not a valid request, or exceeds a limit. The connection cannot continue after
            it.
        """
        if self._body is not None:
            return self._next_of_body(self._body)
        return self._next_head()

    def _next_of_body(self, body: Body) -> bytes | End | None:
        try:
            event, self._buffer.data = body.take(self._buffer.data)
        except MalformedBody as error:
            raise BadRequest(f"the request content is malformed: {error}") from error
        if isinstance(event, End):
            self._body = None
        return event

    def _next_head(self) -> RequestHead | None:
        data = self._buffer.data
        while data.startswith(b"\r\n"):
            # RFC 9112 section 2.2: old clients send an empty line after a POST.
            self._empty_lines += 1
            if self._empty_lines > _MAX_EMPTY_LINES:
                raise BadRequest("the request consists of empty lines")
            self._buffer.data = data = data[2:]
        if not data:
            return None
        self._check_start(data)
        if len(data) >= self._line_limit:
            self._check_line(data)
        head = self._buffer.take_head(self._limits.head)
        if head is None:
            if len(data) >= self._limits.head:
                raise self._head_too_large()
            return None
        self._empty_lines = 0
        try:
            if len(head) > self._limits.head:
                raise self._head_too_large()
            request = parse_request_head(head, self._limits, self._fields)
        except ClientError as error:
            if _BARE.search(head, 0, self._limits.head):
                # The same error as for a head that is received in pieces.
                raise BadRequest(_BARE_ERROR) from error
            raise
        if request.framing.kind is _LENGTH:
            self._body = LengthBody(request.framing.length)
        elif request.framing.kind is _DELIMITED:
            self._body = ChunkedBody(self._limits.head, self._limits.fields)
        return request

    def _check_start(self, data: bytes) -> None:
        """Reject data that cannot become a request, instead of waiting for more of it."""
        if data[0] not in _METHOD_STARTS and data != b"\r":
            if data[0] == 0x16:
                raise BadRequest("this listener expects plain HTTP; configure the proxy as http://, not https://")
            if data[0] in (0x04, 0x05):
                raise BadRequest("this listener expects HTTP; for SOCKS5 clients, add :socks5=yes to --listen")
            raise BadRequest("the data is not HTTP")

    def _check_line(self, data: bytes) -> None:
        """Reject a request line that exceeds the limit, whether it is complete or not."""
        limit = self._line_limit
        if data.find(b"\n", 0, limit) < 0:
            if _BARE.search(data, 0, limit):
                raise BadRequest(_BARE_ERROR)
            raise TargetTooLong(f"the request-target is over {self._limits.target} bytes")

    def _head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(f"the request head is over {self._limits.head} bytes")


class _ResponseState(enum.Enum):
    HEAD = enum.auto()
    BODY = enum.auto()
    DONE = enum.auto()


_HEAD: Final = _ResponseState.HEAD
_BODY: Final = _ResponseState.BODY
_DONE: Final = _ResponseState.DONE


class ResponseReader:
    """Reads the responses to the requests of one origin connection, one request at a time.

    L{expect} declares the request of the next response. L{next_event} then returns any number of interim
    L{ResponseHead}s (1xx), the final one, content as C{bytes}, and an L{End}.

    @param repeats: whether responses often have the same fields as the response before.
    """

    def __init__(self, limits: HeadLimits, *, repeats: bool = False) -> None:
        self._limits = limits
        self._fields = LastFields(limits.fields, response=True) if repeats else None
        self._buffer = _HeadBuffer(OriginProtocolError)
        self._state = _DONE
        self._method = ""
        self._body: Body = UntilCloseBody()
        self._until_close = False

    @property
    def buffered(self) -> int:
        """The number of bytes received and not consumed."""
        return len(self._buffer.data)

    def expect(self, method: str) -> None:
        """Prepare for the response to a request.

        @raise ValueError: if the previous response is not complete.
        """
        if self._state is not _DONE:
            raise ValueError("the last response is not over")
        self._state = _HEAD
        self._method = method

    def receive(self, data: bytes) -> None:
        """Add data from the origin."""
        self._buffer.append(data)

    def receive_eof(self) -> End | None:
        """Handle the end of the origin's data.

        @return: the end of the content if the connection delimits it; C{None} if the response is truncated, or no
            response is expected.
        """
        if self._state is _BODY and self._until_close:
            self._state = _DONE
            return END
        return None

    def take_remaining(self) -> bytes:
        """Remove and return the data after the last event: the data that follows a 101."""
        return self._buffer.take_all()

    def next_event(self) -> ResponseHead | bytes | End | None:
        """Return the next event, or C{None} if more data is needed.

        @raise OriginProtocolError: if the data is not a valid response, or exceeds a limit.
        """
        if self._state is _BODY:
            try:
                event, self._buffer.data = self._body.take(self._buffer.data)
            except MalformedBody as error:
                raise OriginProtocolError(f"the origin's content is malformed: {error}") from error
            if isinstance(event, End):
                self._state = _DONE
            return event
        if self._state is _DONE:
            return None
        return self._next_head()

    def _next_head(self) -> ResponseHead | None:
        data = self._buffer.data
        if not data.startswith(b"HTTP/1."[: len(data)]):
            if len(data) < _FRAME_HEAD and not data[0]:
                return None
            if _speaks_http2(data):
                raise OriginHttp2Only("the origin responds only in HTTP/2, which the proxy does not use without TLS")
            raise OriginProtocolError("the origin's response is not HTTP/1")
        head = self._buffer.take_head(self._limits.head)
        if head is None:
            if len(data) >= self._limits.head:
                raise OriginProtocolError(f"the origin's response head is over {self._limits.head} bytes")
            return None
        response = parse_response_head(head, self._limits, self._method, self._fields)
        if response.status == 101:
            self._state = _DONE
        elif response.status >= 200:
            self._begin_body(response.framing)
        return response

    def _begin_body(self, framing: Framing) -> None:
        self._until_close = framing.kind is _UNTIL_CLOSE
        self._state = _BODY
        if framing.kind is _DELIMITED:
            self._body = ChunkedBody(self._limits.head, self._limits.fields, response=True)
        elif self._until_close:
            self._body = UntilCloseBody()
        else:
            self._body = LengthBody(framing.length)


def _speaks_http2(data: bytes) -> bool:
    """Whether a response starts like HTTP/2: with SETTINGS, or with GOAWAY (RFC 9113 sections 3.4, 4.1 and 6.8).

    A frame header contains the length in three bytes, the type, the flags, and the stream, which is 0 for these two.
    """
    return len(data) >= _FRAME_HEAD and not data[0] and data[3] in (4, 7) and data[4:_FRAME_HEAD] == bytes(5)
