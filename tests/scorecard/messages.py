"""A strict HTTP/1 reader: a message that it accepts has only one reading.

It is independent of the readers of the proxy, because the judge would not detect an error that both share.
"""

from __future__ import annotations

import re

import attrs

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST = re.compile(rb"(%b) ([\x21-\x7e\x80-\xff]+) (HTTP/1\.[0-9])" % _TOKEN)
_STATUS = re.compile(rb"(HTTP/1\.[01]) ([1-9][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?")
_FIELD = re.compile(
    rb"(%b):[\t ]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[\t ]*" % _TOKEN
)
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}")
# Fields that would change the host, the identity or the framing afterwards.
_NO_TRAILERS = {b"content-length", b"transfer-encoding", b"host", b"authorization", b"cookie", b"set-cookie"}


class Ambiguous(Exception):
    """Bytes with more than one reading."""


class Incomplete(Exception):
    """The message is incomplete; the bytes so far are valid."""


@attrs.frozen
class Message:
    """One message.

    @ivar start: the three parts of the first line.
    @ivar fields: names in lowercase.
    @ivar complete: whether the content is complete.
    """

    start: tuple[bytes, bytes, bytes]
    fields: tuple[tuple[bytes, bytes], ...]
    content: bytes
    complete: bool = True

    def field(self, name: bytes) -> bytes | None:
        """The only field of a name."""
        values = [value for found, value in self.fields if found == name]
        if len(values) > 1:
            raise Ambiguous(f"{name.decode()} more than once")
        return values[0] if values else None

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.start[1])


def _head(data: bytes, start: re.Pattern[bytes]) -> tuple[tuple[bytes, ...], tuple[tuple[bytes, bytes], ...], bytes]:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if re.search(rb"[^\r]\n|\r[^\n]|\x00", data):
            raise Ambiguous("a line that does not end in CRLF")
        raise Incomplete
    first, *lines = data[:end].split(b"\r\n")
    match = start.fullmatch(first)
    if match is None:
        raise Ambiguous(f"the first line {first[:60]!r}")
    return match.groups(), _fields(lines), data[end + 4 :]


def _fields(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    fields = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Ambiguous(f"the line {line[:60]!r}")
        name = match[1].lower()
        if name in (b"content_length", b"transfer_encoding"):
            raise Ambiguous(f"the name {name!r}")
        fields.append((name, match[2] or b""))
    return tuple(fields)


def _framing(message: Message, version: bytes) -> int | None:
    """The length of the content; -1 for chunked; C{None} without a length."""
    length, coding = message.field(b"content-length"), message.field(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise Ambiguous("a length and a coding")
        if coding.lower() != b"chunked" or version == b"HTTP/1.0":
            raise Ambiguous(f"the coding {coding[:40]!r} in {version!r}")
        return -1
    if length is None:
        return None
    if not _LENGTH.fullmatch(length):
        raise Ambiguous(f"the length {length[:40]!r}")
    return int(length)


def _chunks(data: bytes) -> tuple[bytes, bytes, bool]:
    """Read chunked content: the content, what follows, and whether it is complete."""
    content = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            if re.search(rb"[\r\n](?!$)|\n", line):
                raise Ambiguous("a chunk size that does not end in CRLF")
            return content, b"", False
        if not _CHUNK.fullmatch(line):
            raise Ambiguous(f"the chunk size {line[:40]!r}")
        size = int(line, 16)
        if not size:
            break
        content += data[:size]
        if len(data) < size + 2:
            return content, b"", False
        if data[size : size + 2] != b"\r\n":
            raise Ambiguous("a chunk is longer than its size")
        data = data[size + 2 :]
    if data.startswith(b"\r\n"):
        return content, data[2:], True
    lines, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return content, b"", False
    for name, _ in _fields(lines.split(b"\r\n")):
        if name in _NO_TRAILERS:
            raise Ambiguous(f"the trailer {name!r}")
    return content, rest, True


def _content(message: Message, length: int, rest: bytes) -> tuple[Message, bytes]:
    if length < 0:
        content, rest, complete = _chunks(rest)
        return attrs.evolve(message, content=content, complete=complete), rest
    return attrs.evolve(message, content=rest[:length], complete=len(rest) >= length), rest[length:]


def read_request(data: bytes) -> tuple[Message, bytes]:
    """Read one request.

    @return: the request, and the data after it.
    @raise Incomplete: if its head is incomplete.
    @raise Ambiguous: if it has more than one reading.
    """
    start, fields, rest = _head(data, _REQUEST)
    message = Message(start, fields, b"")  # type: ignore[arg-type]
    if message.field(b"host") is None:
        raise Ambiguous("a request without Host")
    return _content(message, _framing(message, start[2]) or 0, rest)


def read_response(data: bytes, method: bytes, closed: bool) -> tuple[Message, bytes]:
    """Read one response, interim or final; see L{read_request}.

    @param method: the method of its request.
    @param closed: whether the connection has ended.
    """
    start, fields, rest = _head(data, _STATUS)
    message = Message((start[0], start[1], b""), fields, b"")
    length = _framing(message, start[0])
    if message.status < 200 or message.status == 204:
        if length is not None:
            raise Ambiguous(f"a {message.status} with a length")
        return message, rest
    if method == b"HEAD" or message.status == 304 or (method == b"CONNECT" and message.status < 300):
        return message, rest
    if length is None:
        return attrs.evolve(message, content=rest, complete=closed), b""
    return _content(message, length, rest)
