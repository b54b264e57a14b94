"""Content codings of requests, decoded for decisions (RFC 9110 section 8.4): gzip, deflate, br and zstd.

Only content that all servers decode alike is decoded.  Everything else is undecodable, such as data after the end, an
incomplete stream, C{deflate} that is valid both with and without a zlib header, and zstd frames that decoders skip.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Generator
from importlib import import_module
from typing import Any, Final, Protocol

import attrs

from egress.model.decision import Headers

MAX_CODINGS: Final = 3
"""The maximum number of codings of one content."""

MAX_MEMBERS: Final = 256
"""The maximum number of gzip members or zstd frames of one content."""

MAX_RATIO: Final = 200
"""The maximum ratio of the decoded length to the length as sent, for decoded content above L{FREE_LENGTH}."""

FREE_LENGTH: Final = 256 * 1024
"""The decoded length up to which the ratio is not limited, in bytes."""

# The bytes that a decoder takes, and about the bytes that it returns, in one step.
_INPUT: Final = 16 * 1024
_OUTPUT: Final = 64 * 1024
# The work of a member and of a step, in bytes of content that take as long.  The decoder of zstd allocates memory.
_PER_MEMBER: Final = {"gzip": 1024, "deflate": 1024, "br": 4096, "zstd": 24 * 1024}
_PER_STEP: Final = 256
# RFC 9659: decoders need not support a larger window.
_WINDOW_LOG: Final = 23

_FIELD: Final = b"content-encoding"
_NAMES: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}
_SEPARATOR: Final = re.compile("[ \t]*,[ \t]*")
_FIX: Final = "send it without Content-Encoding"


class Undecodable(Exception):
    """The content cannot be decoded, or servers decode it in different ways.

    @ivar reason: the cause and the fix, without any data of the request.
    """

    def __init__(self, cause: str, fix: str = _FIX) -> None:
        super().__init__(cause)
        self.reason = f"{cause} ({fix})"


class _InvalidStream(Exception):
    """The data is not a complete, valid stream."""


@attrs.frozen
class Decoded:
    """Decoded content.

    @ivar content: the content.
    @ivar earlier: the content as sent, and after each step but the last: what servers read that decode none, or only
        some, of the codings.
    @ivar has_members: whether it has several gzip members or zstd frames: some decoders stop after the first.
    """

    content: bytes = attrs.field(repr=False)
    earlier: tuple[bytes, ...] = attrs.field(default=(), repr=False)
    has_members: bool = False


Steps = Generator[int, None, Decoded]
"""Yields the work of each step, in bytes of content that take as long; returns the result."""


class _Stream(Protocol):
    """A decoder of one gzip member, zlib stream, deflate stream, br stream or zstd frame."""

    @property
    def is_over(self) -> bool:
        """Whether the end was read."""

    @property
    def has_more(self) -> bool:
        """Whether L{feed} returns more without more data."""

    @property
    def rest(self) -> bytes:
        """The data after the end."""

    def feed(self, data: bytes) -> bytes:
        """Decode data; return about C{_OUTPUT} bytes at most.

        @raise _InvalidStream: if the data is not valid.
        """


class _Zlib:
    """See L{_Stream}.

    @param window: the C{wbits} of zlib, which select the format.
    """

    def __init__(self, window: int) -> None:
        self._inner = zlib.decompressobj(window)

    @property
    def is_over(self) -> bool:
        return self._inner.eof

    @property
    def has_more(self) -> bool:
        return bool(self._inner.unconsumed_tail)

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes) -> bytes:
        try:
            return self._inner.decompress(self._inner.unconsumed_tail + data, _OUTPUT)
        except zlib.error:
            raise _InvalidStream from None


class _Brotli:
    """See L{_Stream}.  The library rejects data after the end."""

    rest = b""

    def __init__(self) -> None:
        try:
            import brotli  # noqa: PLC0415 - few requests have this coding
        except ImportError:
            raise _lacking("br", "brotli") from None
        self._inner = brotli.Decompressor()
        self._error = brotli.error

    @property
    def is_over(self) -> bool:
        return bool(self._inner.is_finished())

    @property
    def has_more(self) -> bool:
        return not self._inner.can_accept_more_data()

    def feed(self, data: bytes) -> bytes:
        try:
            return bytes(self._inner.process(data, output_buffer_limit=_OUTPUT))
        except self._error:
            raise _InvalidStream from None


class _Zstd:
    """See L{_Stream}."""

    def __init__(self) -> None:
        zstd = _zstd_library()
        self._inner = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        self._error = zstd.ZstdError

    @property
    def is_over(self) -> bool:
        return bool(self._inner.eof)

    @property
    def has_more(self) -> bool:
        return not self._inner.needs_input

    @property
    def rest(self) -> bytes:
        return bytes(self._inner.unused_data)

    def feed(self, data: bytes) -> bytes:
        try:
            return bytes(self._inner.decompress(data, _OUTPUT))
        except self._error:
            raise _InvalidStream from None


def _zstd_library() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise _lacking("zstd", "backports.zstd")


def _lacking(coding: str, package: str) -> Undecodable:
    cause = f"the proxy lacks the library for content in {coding}"
    return Undecodable(cause, f"the operator can install the package {package}")


def _gzip(data: bytes) -> _Stream:
    return _Zlib(31)


def _deflate(data: bytes) -> _Stream:
    """Recognize the zlib format (RFC 1950) by its header; some clients send raw deflate (RFC 9110 section 8.4.1.2)."""
    has_header = data[0] & 0x8F == 0x08 and int.from_bytes(data[:2], "big") % 31 == 0
    if not has_header:
        return _Zlib(-15)
    if data[1:3] == bytes(byte ^ 0xFF for byte in data[3:5]):
        # For raw deflate, these bytes are the length of a block and its complement.
        raise _InvalidStream
    return _Zlib(15)


def _br(data: bytes) -> _Stream:
    return _Brotli()


def _zstd(data: bytes) -> _Stream:
    return _Zstd()


# The decoder of each coding, and the first bytes of a member; C{None}: the coding has no members.
_STREAMS: Final[dict[str, tuple[Callable[[bytes], _Stream], bytes | None]]] = {
    "gzip": (_gzip, b"\x1f\x8b"),
    "deflate": (_deflate, None),
    "br": (_br, None),
    "zstd": (_zstd, b"\x28\xb5\x2f\xfd"),
}


def content_codings(headers: Headers) -> tuple[str, ...]:
    """Return the content codings of a request, in the order in which they were applied.

    @raise Undecodable: if servers may read other codings, or if one is not supported.
    """
    lines = [(name.lower(), value) for name, value in headers if name.lower().replace(b"_", b"-") == _FIELD]
    values = [value.decode("latin-1").strip().lower() for _, value in lines]
    if all(value in ("", "identity") for value in values):
        return ()
    if len(lines) > 1 or lines[0][0] != _FIELD:
        raise Undecodable("its Content-Encoding is repeated, or has an unusual spelling")
    names = _SEPARATOR.split(values[0])
    if len(names) > MAX_CODINGS or not _NAMES.keys() >= set(names):
        known = "gzip, deflate, br and zstd"
        raise Undecodable(f"its Content-Encoding is not a list of up to {MAX_CODINGS} of the codings {known}")
    return tuple(_NAMES[name] for name in names)


def decoding(body: bytes, codings: tuple[str, ...], limit: int) -> Steps:
    """Decode content in small steps.

    @param body: the complete content.
    @param codings: the codings, in the order in which they were applied.
    @param limit: the maximum decoded length, in bytes.
    @raise Undecodable: with the reason.
    """
    earlier: list[bytes] = []
    has_members = False
    for coding in reversed(codings):
        earlier.append(body)
        try:
            members = yield from _members(body, coding, limit)
        except _InvalidStream:
            raise Undecodable(f"its content is not complete, valid {coding}") from None
        body = b"".join(members)
        has_members = has_members or len(members) > 1
    return Decoded(body, tuple(earlier), has_members)


def decode(body: bytes, codings: tuple[str, ...], limit: int, spend: Callable[[int], object]) -> Decoded:
    """Decode content in one turn; see L{decoding}.

    @param spend: is called with the work of each step.
    """
    steps = decoding(body, codings, limit)
    while True:
        try:
            spend(next(steps))
        except StopIteration as end:
            found: Decoded = end.value
            return found


def _members(body: bytes, coding: str, limit: int) -> Generator[int, None, list[bytes]]:
    """Decode one coding; return the content of each member."""
    make, magic = _STREAMS[coding]
    most = min(limit, max(FREE_LENGTH, MAX_RATIO * len(body)))
    if not body:
        raise _InvalidStream
    found: list[bytes] = []
    at = 0
    while at < len(body):
        if len(found) == MAX_MEMBERS:
            raise Undecodable(f"its content has more than {MAX_MEMBERS} members in {coding}")
        stream = make(body)
        if magic is not None and not body.startswith(magic, at):
            raise _InvalidStream
        yield _PER_MEMBER[coding]
        content, at = yield from _member(stream, body, at, most, limit)
        most -= len(content)
        found.append(content)
        if magic is None and at < len(body):
            raise _InvalidStream
    return found


def _member(stream: _Stream, body: bytes, at: int, most: int, limit: int) -> Generator[int, None, tuple[bytes, int]]:
    """Decode one member; return its content and the position after it."""
    found: list[bytes] = []
    size = 0
    while not stream.is_over:
        had_more = stream.has_more
        piece = b"" if had_more else body[at : at + _INPUT]
        at += len(piece)
        content = stream.feed(piece)
        if not (piece or had_more or content or stream.is_over):
            raise _InvalidStream
        size += len(content)
        if size > most:
            raise _too_long(most, limit)
        found.append(content)
        yield len(piece) + len(content) + _PER_STEP
    return b"".join(found), at - len(stream.rest)


def _too_long(most: int, limit: int) -> Undecodable:
    return Undecodable(
        f"its decoded content is longer than {limit:,} bytes, or more than {MAX_RATIO} times as long as sent",
        "send less content in one request, or without Content-Encoding",
    )
