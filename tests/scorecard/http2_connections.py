"""HTTP/2 connections whose frames cause work, memory, or another state than the frames of a correct client.

After a flood, the client sends a request.  A proxy that bounds the flood has closed the connection.
"""

from __future__ import annotations

import struct

from tests.http2_conformance import frames as wire
from tests.scorecard.cases import Case, Must, forward
from tests.scorecard.http2 import CONTENT, SECURE, data, head, post
from tests.scorecard.http2_wire import Frame

GROUP = "HTTP/2 connections"

_CLOSED = Must(closed=True)
_MANY = 2000
_LAST = 2 * _MANY + 1
_UNKNOWN = 0x20
_LARGEST = (1 << 31) - 1
_CANCEL = b"\0\0\0\x08"


def _case(id: str, about: str, must: Must, *parts: tuple[Frame, ...]) -> Case:  # noqa: A002
    return Case(f"http2-{id}", GROUP, about, must, tunnel=SECURE, server_name="localhost", http2=parts)


def _flood(id: str, about: str, *frames: Frame) -> Case:  # noqa: A002
    return _case(id, about, _CLOSED, frames, (head(stream=_LAST),))


def _many(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> tuple[Frame, ...]:
    return tuple(Frame(kind, flags, stream, payload=payload) for _ in range(_MANY))


def _settings(*values: tuple[int, int]) -> Frame:
    return Frame(wire.SETTINGS, 0, 0, payload=b"".join(struct.pack("!HI", *value) for value in values))


def _window(increment: int, stream: int = 0) -> Frame:
    return Frame(wire.WINDOW_UPDATE, 0, stream, payload=struct.pack("!I", increment))


def _block(*payloads: bytes, begin: Frame | None = None) -> tuple[Frame, ...]:
    """A request whose header block continues with bytes that are not valid, or that expand."""
    first = begin or head(flags=wire.END_STREAM)
    rest = [Frame(wire.CONTINUATION, 0, 1, payload=payload) for payload in payloads[:-1]]
    return (first, *rest, Frame(wire.CONTINUATION, wire.END_HEADERS, 1, payload=payloads[-1]))


def _hpack(id: str, about: str, *payloads: bytes, must: Must = _CLOSED) -> Case:  # noqa: A002
    return _case(f"hpack-{id}", about, must, _block(*payloads))


_LITERAL = b"\x40" + wire.text(b"x-a") + wire.text(b"a" * 4000)
_NEWEST = wire.integer(62, 7, 0x80)
_TOO_LARGE = Must(statuses=(431,), closed=True)

CASES = (
    _flood(
        "resets",
        "2,000 requests that the client resets (rapid reset, CVE-2023-44487), then a request",
        *(
            one
            for number in range(_MANY)
            for one in (
                post(stream=2 * number + 1),
                Frame(wire.RST_STREAM, 0, 2 * number + 1, payload=_CANCEL),
            )
        ),
    ),
    _flood(
        "provoked-resets",
        "2,000 requests with an error that makes the proxy reset them (CVE-2025-8671), then a request",
        *(
            one
            for number in range(_MANY)
            for one in (
                post((b"content-length", b"1"), stream=2 * number + 1),
                data(CONTENT, stream=2 * number + 1),
            )
        ),
    ),
    _flood("settings", "2,000 SETTINGS, then a request", *_many(wire.SETTINGS)),
    _flood("pings", "2,000 PINGs, then a request", *_many(wire.PING, bytes(8))),
    _flood("priorities", "2,000 PRIORITYs, then a request", *_many(wire.PRIORITY, wire.priority(0), stream=1)),
    _flood("windows", "2,000 WINDOW_UPDATEs, then a request", *_many(wire.WINDOW_UPDATE, b"\0\0\0\1")),
    _flood("unknown", "2,000 frames of an unknown type, then a request", *_many(_UNKNOWN)),
    _flood("empty", "2,000 DATA frames without data, then a request", post(), *_many(wire.DATA, stream=1)),
    _flood(
        "padding",
        "2,000 DATA frames with only padding, then a request",
        post(),
        *_many(wire.DATA, b"\xff" + bytes(255), flags=wire.PADDED, stream=1),
    ),
    _case(
        "continuations",
        "a header block in 2,000 CONTINUATION frames (CVE-2024-27316)",
        _CLOSED,
        _block(*[b""] * _MANY),
    ),
    _case(
        "continuations-large",
        "a header block of 4 MB in CONTINUATION frames",
        _TOO_LARGE,
        _block(*[b"\0" + wire.text(b"x-a") + wire.text(b"a" * 16_000)] * 250),
    ),
    _case(
        "streams",
        "500 requests that do not end",
        _CLOSED,
        tuple(post(stream=2 * number + 1) for number in range(500)),
    ),
    _hpack("bomb", "64 MB of fields in 20 kB (HPACK bomb)", _LITERAL, _NEWEST * 16_000, must=_TOO_LARGE),
    _hpack("fields", "16,000 fields in 16 kB", b"\x90" * 16_000, must=_TOO_LARGE),
    _hpack("index", "an index beyond the tables", wire.integer(70, 7, 0x80)),
    _hpack("index-0", "the index 0", b"\x80"),
    _hpack("integer", "an integer that does not end", b"\xff" + b"\x80" * 200 + b"\1"),
    _hpack("integer-wraps", "a length that wraps in 64 bits", b"\0\3x-a\x7f" + b"\xff" * 9 + b"\1" + b"b"),
    _hpack("padding", "a Huffman string with zeros as padding", b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
    _hpack("eos", "a Huffman string that contains EOS", b"\0\3x-a\x84\xff\xff\xff\xff"),
    _hpack("cut", "a string beyond the end of the block", b"\0\3x-a\x14b"),
    _hpack("table", "a table of 16 MB", wire.integer(1 << 24, 5, 0x20)),
    _case("window-0", "a window update of 0 for a stream", _CLOSED, (post(), _window(0, 1), data(CONTENT))),
    _case("window-0-all", "a window update of 0 for the connection", _CLOSED, (_window(0),), (head(),)),
    _case("window-overflow", "a window that overflows", _CLOSED, (post(), _window(_LARGEST, 1), data(CONTENT))),
    _case("window-overflow-all", "the same for the connection", _CLOSED, (_window(_LARGEST),), (head(),)),
    _case(
        "window-setting",
        "an initial window of 2 GiB",
        _CLOSED,
        (_settings((wire.INITIAL_WINDOW_SIZE, 1 << 31)),),
        (head(),),
    ),
    _case(
        "window-setting-overflow",
        "an initial window that makes the window of a stream overflow",
        _CLOSED,
        (post(), _window(_LARGEST - 65_535, 1), _settings((wire.INITIAL_WINDOW_SIZE, 65_536)), data(CONTENT)),
    ),
    _case(
        "window-none",
        "a window of 0, so that the response waits",
        forward(),
        (_settings((wire.INITIAL_WINDOW_SIZE, 0)), head()),
    ),
    _case(
        "window-tiny",
        "a window of 1 byte, opened by 1 byte",
        forward(),
        (_settings((wire.INITIAL_WINDOW_SIZE, 1)), head()),
        (_window(1, 1),),
    ),
    _case(
        "window-negative",
        "a setting that makes a window negative",
        forward(),
        (head(), _settings((wire.INITIAL_WINDOW_SIZE, 0))),
        (_window(1 << 20, 1),),
    ),
    _case(
        "frame-size",
        "a frame above the announced size",
        _CLOSED,
        (post(), Frame(wire.DATA, wire.END_STREAM, 1, payload=bytes(20_000))),
    ),
    _case(
        "frame-size-setting", "a maximum frame size of 1", _CLOSED, (_settings((wire.MAX_FRAME_SIZE, 1)),), (head(),)
    ),
    _case(
        "padding-long",
        "padding beyond the end of the frame",
        _CLOSED,
        (post(), Frame(wire.DATA, wire.END_STREAM | wire.PADDED, 1, payload=b"\x0fcontent")),
    ),
    _case(
        "settings-length",
        "SETTINGS of 5 bytes",
        _CLOSED,
        (Frame(wire.SETTINGS, 0, 0, payload=bytes(5)),),
        (head(),),
    ),
    _case("ping-length", "a PING of 7 bytes", _CLOSED, (Frame(wire.PING, 0, 0, payload=bytes(7)),), (head(),)),
    _case(
        "push",
        "PUSH_PROMISE of a client",
        _CLOSED,
        (post(), Frame(wire.PUSH_PROMISE, wire.END_HEADERS, 1, head().fields, b"\0\0\0\2")),
    ),
    _case("reset-idle", "a reset before the request", _CLOSED, (Frame(wire.RST_STREAM, 0, 1, payload=_CANCEL), head())),
    _case("streams-back", "a stream with a lower number", _CLOSED, (post(stream=5), head(stream=3))),
    _case("stream-0", "a request on stream 0", _CLOSED, (head(stream=0),)),
    _case("data-0", "content on stream 0", _CLOSED, (post(), data(CONTENT, stream=0))),
    _case(
        "priority-self",
        "a stream that depends on itself",
        Must(closed=True, forwarded=1),
        (Frame(wire.PRIORITY, 0, 1, payload=wire.priority(1)), head()),
    ),
    _case(
        "after-end-data",
        "content after the end of a request",
        Must(closed=True, forwarded=1),
        (head(), data(CONTENT)),
    ),
)
