"""Mutations that keep the framing of an input valid, so that the runs reach more than the check of a length.

A mutator divides an input into units: a header without its length, and a payload.  It changes the units, and writes
them with correct lengths.  A part of the inputs is changed without regard to the framing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Final, Protocol

import attrs
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from egress.http.crc32c import crc32c

# Changes bytes: the bytes, and the maximum length of the result.
Mutate = Callable[[bytes, int], bytes]
Mutator = Callable[[bytes, int, int], bytes]


@attrs.frozen
class Unit:
    """A part of an input.

    @ivar head: the header without its length.
    @ivar payload: the data whose length the header contains.
    """

    head: bytes
    payload: bytes = b""


class Framing(Protocol):
    """The framing of one protocol."""

    def split(self, data: bytes) -> list[Unit]:
        """Divide an input.  A part without a valid header is a unit without one."""

    def join(self, unit: Unit) -> bytes:
        """Write a unit with its length."""

    def new(self, random: Random, units: Sequence[Unit] = ()) -> Sequence[Unit]:
        """Return valid units.

        @param units: the units of the input.
        """

    def head(self, head: bytes, random: Random) -> bytes:
        """Change a header."""

    def payload(self, unit: Unit, random: Random, mutate: Mutate) -> bytes:
        """Change a payload."""


def mutator(framing: Framing, mutate: Mutate, prefix: int = 1) -> Mutator:
    """Return a custom mutator of atheris.

    @param mutate: changes bytes: C{atheris.Mutate}.
    @param prefix: the number of bytes before the units, which select the mode of the target.
    """

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)  # noqa: S311
        chance = random.random()
        if chance < 0.1 or len(data) < prefix:
            return mutate(data, max_size)
        first = data[:prefix] if chance < 0.9 else bytes(random.randrange(256) for _ in range(prefix))
        units = framing.split(data[prefix:])
        for _ in range(random.choice((1, 1, 2, 3))):
            _change(framing, units, random, mutate)
        found = first
        for unit in units:
            written = framing.join(unit)
            if len(found) + len(written) > max_size:
                break
            found += written
        return found

    return change


def _change(framing: Framing, units: list[Unit], random: Random, mutate: Mutate) -> None:
    kind = random.randrange(9)
    at = random.randrange(len(units) + 1)
    if kind < 3 or at == len(units):
        at = at if random.random() < 0.4 else len(units)
        units[at:at] = framing.new(random, units)
        return
    unit = units[at]
    if kind == 3:
        units.insert(random.randrange(len(units) + 1), unit)
    elif kind == 4:
        del units[at]
    elif kind == 5:
        units.insert(random.randrange(len(units)), units.pop(at))
    elif kind == 6:
        units[at] = Unit(framing.head(unit.head, random), unit.payload)
    else:
        units[at] = Unit(unit.head, framing.payload(unit, random, mutate))


def _changed(payload: bytes, mutate: Mutate) -> bytes:
    return mutate(payload, len(payload) + 64)


# -- HTTP/2

_FRAME: Final = 9
_DATA, _HEADERS, _PRIORITY, _RESET, _SETTINGS, _PUSH, _PING, _GOAWAY, _WINDOW, _CONTINUATION = range(10)
_END_STREAM, _END_HEADERS, _PADDED, _WITH_PRIORITY = 1, 4, 8, 32
_SIZES: Final = (0, 1, 2, 5, 100, 16384, 65535, 2**31 - 1)
_CODES: Final = (0, 1, 2, 3, 5, 7, 8, 11, 13, 99)

Field = tuple[bytes, bytes]

_COMMON: Final[tuple[Field, ...]] = (
    *((b"content-length", b"5"), (b"content-length", b"0"), (b"content-length", b"05"), (b"x-a", b"b")),
    *((b"te", b"trailers"), (b"te", b"gzip"), (b"connection", b"x-a"), (b"transfer-encoding", b"chunked")),
    *((b"X-A", b"b"), (b"x-a", b"b\r\nc: d"), (b"x-a", b" b"), (b"x a", b"b"), (b"", b"b"), (b"x-a", b"\0")),
    *((b"content_length", b"5"), (b"upgrade", b"h2c"), (b"trailer", b"x-a"), (b"x-" + b"a" * 200, b"b" * 300)),
)
_OF_REQUESTS: Final[tuple[Field, ...]] = (
    *((b":method", b"POST"), (b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":path", b"/a?b")),
    *((b":scheme", b"http"), (b":authority", b"b"), (b":path", b"a b"), (b":status", b"200"), (b"host", b"a")),
    *((b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"expect", b"100-continue"), (b"sec-websocket-version", b"13")),
    *((b"proxy-authorization", b"Basic YTpi"), (b"authorization", b"NTLM x"), (b"max-forwards", b"0")),
)
_OF_RESPONSES: Final[tuple[Field, ...]] = (
    *((b":status", b"200"), (b":status", b"103"), (b":status", b"101"), (b":status", b"204"), (b":status", b"304")),
    *((b":status", b"0200"), (b"set-cookie", b"a=b"), (b"www-authenticate", b"Negotiate"), (b":path", b"/")),
    *((b"location", b"/"), (b"date", b"Sun, 29 Nov 2026 00:00:00 GMT"), (b"retry-after", b"1")),
)
_REQUEST: Final[tuple[Field, ...]] = (
    *((b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")),
)
_WEBSOCKET: Final[tuple[Field, ...]] = (
    *((b":method", b"CONNECT"), (b":protocol", b"websocket"), *_REQUEST[1:], (b"sec-websocket-version", b"13")),
)
_huffman: Final = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def _integer(number: int, bits: int, flags: int) -> bytes:
    limit = (1 << bits) - 1
    if number < limit:
        return bytes((flags | number,))
    found = bytearray((flags | limit,))
    number -= limit
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _string(text: bytes, random: Random) -> bytes:
    if random.random() < 0.3:
        text = _huffman.encode(text)
        return _integer(len(text), 7, 0x80) + text
    return _integer(len(text), 7, 0) + text


def block(fields: Sequence[Field], random: Random) -> bytes:
    """Encode a header block (RFC 7541 section 6), with any representation of each field."""
    parts = [_integer(random.choice((0, 64, 4096, 4097)), 5, 0x20)] if random.random() < 0.1 else []
    for name, value in fields:
        bits, flags = random.choice(((6, 0x40), (6, 0x40), (4, 0x00), (4, 0x10)))
        parts += (_integer(0, bits, flags), _string(name, random), _string(value, random))
    while random.random() < 0.3:
        # An entry of the static or the dynamic table, or none.
        parts.append(_integer(random.choice((2, 4, 8, 62, 62, 63, 70, 130)), 7, 0x80))
    return b"".join(parts)


class Http2Framing:
    """Frames of HTTP/2 (RFC 9113 section 4.1).

    @param client: whether they are those of a client.
    """

    def __init__(self, *, client: bool) -> None:
        self._client = client

    def split(self, data: bytes) -> list[Unit]:
        """See L{Framing.split}."""
        units, at = [], 0
        while at + _FRAME <= len(data):
            end = at + _FRAME + int.from_bytes(data[at : at + 3], "big")
            units.append(Unit(data[at + 3 : at + _FRAME], data[at + _FRAME : end]))
            at = end
        return units if at >= len(data) else [*units, Unit(b"", data[at:])]

    def join(self, unit: Unit) -> bytes:
        """See L{Framing.join}."""
        if len(unit.head) != _FRAME - 3:
            return unit.payload
        return len(unit.payload).to_bytes(3, "big") + unit.head + unit.payload

    def _stream(self, random: Random) -> bytes:
        odd = 2 * random.randrange(6 if self._client else 3) + 1
        return random.choice((odd,) * 12 + (0, 2, 101, 2**31 - 1)).to_bytes(4, "big")

    def _next_stream(self, opened: Sequence[bytes]) -> bytes:
        """A stream that the client has not opened."""
        return (int.from_bytes(max(opened, default=b""), "big") + 2 & 0x7FFFFFFF | 1).to_bytes(4, "big")

    def _fields(self, random: Random) -> list[Field]:
        fields: list[Field] = []
        if random.random() < 0.85:
            fields += random.choice((_REQUEST, _REQUEST, _WEBSOCKET)) if self._client else _OF_RESPONSES[:1]
        more = (*_COMMON, *(_OF_REQUESTS if self._client else _OF_RESPONSES))
        fields += [random.choice(more) for _ in range(random.choice((0, 0, 0, 1, 1, 2, 3)))]
        if random.random() < 0.1:
            random.shuffle(fields)
        return fields

    def new(self, random: Random, units: Sequence[Unit] = ()) -> Sequence[Unit]:
        """See L{Framing.new}."""
        opened = [unit.head[2:] for unit in units if unit.head[:1] == bytes((_HEADERS,))]
        stream = random.choice(opened) if opened and random.random() < 0.8 else self._stream(random)
        kind = random.choice((_HEADERS,) * 8 + (_DATA,) * 6 + (*range(2, 10), 99, _RESET, _WINDOW, _SETTINGS))
        if kind == _HEADERS:
            opens = self._client and random.random() < 0.6
            return self._message(self._next_stream(opened) if opens else stream, random)
        flags = random.choice((0, 0, 1)) if kind in (_DATA, _SETTINGS, _PING) else 0
        if kind in (_SETTINGS, _PING, _GOAWAY) and random.random() < 0.9:
            stream = bytes(4)
        if kind == _WINDOW and random.random() < 0.5:
            stream = bytes(4)
        return [Unit(bytes((kind, flags)) + stream, self._content(kind, flags, random))]

    def _content(self, kind: int, flags: int, random: Random) -> bytes:
        size = random.choice(_SIZES).to_bytes(4, "big")
        match kind:
            case 0:
                return random.choice((b"", b"hello", b"hello", b"x" * 600))
            case 2:
                return self._stream(random) + b"\x10"
            case 3:
                return random.choice(_CODES).to_bytes(4, "big")
            case 4:
                return b"" if flags else random.randrange(10).to_bytes(2, "big") + size
            case 5 | 9:
                return bytes(4) * (kind == 5) + block(self._fields(random), random)
            case 6:
                return b"12345678"
            case 7:
                return self._stream(random) + random.choice(_CODES).to_bytes(4, "big")
            case 8:
                return size
        return b"?"

    def _message(self, stream: bytes, random: Random) -> list[Unit]:
        """A message, or its trailers."""
        encoded = block(self._fields(random), random)
        flags, before, after = _END_STREAM * (random.random() < 0.5), b"", b""
        if random.random() < 0.1:
            flags, before, after = flags | _PADDED, b"\2", b"\0\0"
        if random.random() < 0.1:
            flags, before = flags | _WITH_PRIORITY, before + self._stream(random) + b"\x10"
        cut = random.randrange(len(encoded) + 1) if random.random() < 0.2 else len(encoded)
        flags |= _END_HEADERS * (cut == len(encoded))
        units = [Unit(bytes((_HEADERS, flags)) + stream, before + encoded[:cut] + after)]
        if cut < len(encoded):
            units.append(Unit(bytes((_CONTINUATION, _END_HEADERS)) + stream, encoded[cut:]))
        if not flags & _END_STREAM and random.random() < 0.7:
            last = random.choice((0, 1, 1))
            units.append(Unit(bytes((_DATA, last)) + stream, b"hello"))
            if not last:
                trailers = block(random.sample(_COMMON, 1), random)
                units.append(Unit(bytes((_HEADERS, _END_HEADERS | _END_STREAM)) + stream, trailers))
        return units

    def head(self, head: bytes, random: Random) -> bytes:
        """See L{Framing.head}."""
        if len(head) != _FRAME - 3:
            return head
        kind, flags, stream = head[0], head[1], head[2:]
        match random.randrange(3):
            case 0:
                kind = random.randrange(11)
            case 1:
                flags ^= random.choice((_END_STREAM, _END_STREAM, _END_HEADERS, _PADDED, _WITH_PRIORITY))
            case _:
                stream = self._stream(random)
        return bytes((kind, flags)) + stream

    def payload(self, unit: Unit, random: Random, mutate: Mutate) -> bytes:
        """See L{Framing.payload}."""
        if not unit.head or random.random() < 0.2:
            return _changed(unit.payload, mutate)
        kind, flags = unit.head[:2]
        return block(self._fields(random), random) if kind == _HEADERS else self._content(kind, flags, random)


# -- WebSockets

_TAIL: Final = b"\0\0\xff\xff"


class WebSocketFraming:
    """Frames of WebSockets (RFC 6455 section 5.2).  The mask of a unit is removed: its key is in the header."""

    def split(self, data: bytes) -> list[Unit]:
        """See L{Framing.split}."""
        units, at = [], 0
        while at + 2 <= len(data):
            masked, size = data[at + 1] & 0x80, data[at + 1] & 0x7F
            width = {126: 2, 127: 8}.get(size, 0)
            size = int.from_bytes(data[at + 2 : at + 2 + width], "big") if width else size
            start = at + 2 + width
            key = data[start : start + 4] if masked else b""
            start += len(key)
            units.append(Unit(data[at : at + 1] + key, _masked(data[start : start + size], key)))
            at = start + size
        return units if at >= len(data) else [*units, Unit(b"", data[at:])]

    def join(self, unit: Unit) -> bytes:
        """See L{Framing.join}."""
        if len(unit.head) not in (1, 5):
            return unit.payload
        size, key = len(unit.payload), unit.head[1:]
        mask = 0x80 if key else 0
        length = bytes((mask | size,)) if size < 126 else bytes((mask | 126,)) + size.to_bytes(2, "big")
        return unit.head[:1] + length + key + _masked(unit.payload, key)

    def new(self, random: Random, units: Sequence[Unit] = ()) -> Sequence[Unit]:
        """See L{Framing.new}."""
        key = random.choice((b"", b"\0\0\0\0", b"\1\2\3\4"))
        text = random.choice((b"", b"hello", b"caf\xc3\xa9", b"x" * 130, b"\xff"))
        match random.randrange(4):
            case 0:
                return [
                    Unit(random.choice((b"\x89", b"\x8a", b"\x89", b"\x88")) + key, random.choice((b"", b"\3\xe8")))
                ]
            case 1:
                payload = _deflated(text, random)
                cut = random.randrange(len(payload) + 1)
                return [Unit(b"\x41" + key, payload[:cut]), Unit(b"\x80" + key, payload[cut:])]
            case 2:
                return [Unit(b"\xc1" + key, _deflated(text, random))]
        cut = random.randrange(len(text) + 1)
        return (
            [
                *[Unit(random.choice((b"\x01", b"\x02")) + key, text[:cut]), Unit(b"\x80" + key, text[cut:])],
            ]
            if random.random() < 0.5
            else [Unit(random.choice((b"\x81", b"\x82")) + key, text)]
        )

    def head(self, head: bytes, random: Random) -> bytes:
        """See L{Framing.head}."""
        if not head:
            return head
        if random.random() < 0.2:
            return head[:1] + (b"" if len(head) > 1 else b"\1\2\3\4")
        return bytes((head[0] ^ random.choice((0x80, 0x80, 0x40, 0x01, 0x02, 0x08)),)) + head[1:]

    def payload(self, unit: Unit, random: Random, mutate: Mutate) -> bytes:
        """See L{Framing.payload}."""
        if unit.head and unit.head[0] & 0x40 and random.random() < 0.7:
            try:
                content = zlib.decompressobj(-15).decompress(unit.payload + _TAIL, 1000)
            except zlib.error:
                content = b"hello"
            return _deflated(_changed(content, mutate), random)
        return _changed(unit.payload, mutate)


def _masked(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload)) if any(key) else payload


def _deflated(content: bytes, random: Random) -> bytes:
    """Compress a message (RFC 7692 section 7.2.1), sometimes with a last block (section 7.2.3.4)."""
    stream = zlib.compressobj(random.choice((0, 1, 6)), zlib.DEFLATED, -15)
    if random.random() < 0.15:
        return stream.compress(content) + stream.flush(zlib.Z_FINISH) + random.choice((b"", b"\0"))
    return (stream.compress(content) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]


# -- gRPC


class GrpcFraming:
    """Messages of gRPC: a flag and a length."""

    def split(self, data: bytes) -> list[Unit]:
        """See L{Framing.split}."""
        units, at = [], 0
        while at + 5 <= len(data):
            end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
            units.append(Unit(data[at : at + 1], data[at + 5 : end]))
            at = end
        return units if at >= len(data) else [*units, Unit(b"", data[at:])]

    def join(self, unit: Unit) -> bytes:
        """See L{Framing.join}."""
        return unit.head + len(unit.payload).to_bytes(4, "big") + unit.payload if unit.head else unit.payload

    def new(self, random: Random, units: Sequence[Unit] = ()) -> Sequence[Unit]:
        """See L{Framing.new}."""
        text = random.choice((b"", b"\x0a\x03abc", b"x" * 300, b"x" * 301))
        flag = random.choice((0, 0, 1, 1, 0x80, 2))
        if flag == 0x80:
            text = b"grpc-status: 0\r\n"
        elif flag == 1:
            stream = zlib.compressobj(6, zlib.DEFLATED, random.choice((31, 15)))
            text = stream.compress(text) + stream.flush()
        return [Unit(bytes((flag,)), text)]

    def head(self, head: bytes, random: Random) -> bytes:
        """See L{Framing.head}."""
        return bytes((random.choice((0, 1, 0x80, 0x81, 2)),))

    def payload(self, unit: Unit, random: Random, mutate: Mutate) -> bytes:
        """See L{Framing.payload}."""
        return _changed(unit.payload, mutate)


# -- the PROXY protocol

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_CHECKSUM: Final = 3


class ProxyFraming:
    """A header of the PROXY protocol, version 2: the fixed part, the addresses, and extensions."""

    def split(self, data: bytes) -> list[Unit]:
        """See L{Framing.split}."""
        if not data.startswith(_SIGNATURE) or len(data) < 16:
            return [Unit(b"", data)]
        end = 16 + int.from_bytes(data[14:16], "big")
        return [Unit(data[:14], data[16:end]), Unit(b"", data[end:])]

    def join(self, unit: Unit) -> bytes:
        """See L{Framing.join}."""
        if not unit.head:
            return unit.payload
        payload = unit.payload[:0xFFFF]
        return unit.head + len(payload).to_bytes(2, "big") + payload

    def new(self, random: Random, units: Sequence[Unit] = ()) -> Sequence[Unit]:
        """See L{Framing.new}."""
        if random.random() < 0.3:
            source = random.choice(("198.51.100.7", "::1", "::ffff:192.0.2.1", "fe80::1%1", "1.2.3"))
            name = random.choice(("TCP4", "TCP6", "UNKNOWN", "UDP4"))
            return [Unit(b"", f"PROXY {name} {source} {source} 40000 8080\r\nGET / HTTP/1.1\r\n".encode())]
        family, size = random.choice(((0x11, 12), (0x21, 36), (0x12, 12), (0x31, 216), (0, 0)))
        head = _SIGNATURE + bytes((random.choice((0x20, 0x21, 0x21, 0x11)), family))
        payload = random.choice((bytes(size), bytes(10) + b"\xff\xff" + bytes(max(0, size - 12))))
        while random.random() < 0.5:
            value = random.choice((b"", b"h2", b"origin.test", b"\0" * 4))
            payload += bytes((random.choice((1, 2, 3, 4, 5, 0x20, 0x30)),)) + len(value).to_bytes(2, "big") + value
        if random.random() < 0.5:
            payload += _checksum(head, payload)
        return [Unit(head, payload), Unit(b"", b"GET / HTTP/1.1\r\n")]

    def head(self, head: bytes, random: Random) -> bytes:
        """See L{Framing.head}."""
        return head[:12] + bytes((random.choice((0x20, 0x21)), random.choice((0, 0x11, 0x21, 0x31)))) if head else head

    def payload(self, unit: Unit, random: Random, mutate: Mutate) -> bytes:
        """See L{Framing.payload}."""
        changed = _changed(unit.payload, mutate)
        return changed + _checksum(unit.head, changed) if unit.head and random.random() < 0.3 else changed


def _checksum(head: bytes, payload: bytes) -> bytes:
    """The extension with the checksum of a header."""
    size = (len(payload) + 7).to_bytes(2, "big")
    fixed = bytes((_CHECKSUM,)) + b"\0\4"
    return fixed + crc32c(head + size + payload + fixed + bytes(4)).to_bytes(4, "big")


FRAMINGS: Final[dict[str, tuple[Framing, int]]] = {
    "http2": (Http2Framing(client=True), 1),
    "http2_origin": (Http2Framing(client=False), 1),
    "http2_session": (Http2Framing(client=True), 1),
    "websocket": (WebSocketFraming(), 1),
    "grpc": (GrpcFraming(), 1),
    "proxy_protocol": (ProxyFraming(), 0),
}
