"""The compression of fields (RFC 7541): a bounded decoder, and an encoder without a dynamic table.

The decoder of C{hpack} copies the rest of a block for each field, and accepts any number of changes of the table size.
Its encoder searches the dynamic table for each field. Both take a multiple of the time of these, and the networks of a
proxy are fast, so that its time matters more than the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from egress.http2.frames import CalmError
from egress.model.decision import Header

# RFC 7541 section 4.1.
ENTRY_OVERHEAD: Final = 32
TABLE_SIZE: Final = 4096
# An integer has at most this many bytes after its prefix, which is enough for 28 bits.
_MAX_INTEGER_BYTES: Final = 4
# The maximum number of changes of the table size at the start of a block. Encoders signal at most two.
_MAX_SIZE_UPDATES: Final = 8

_STATIC: Final[tuple[Header, ...]] = ((b"", b""), *HeaderTable.STATIC_TABLE)
_FIRST_DYNAMIC: Final = len(_STATIC)
_LAST_STATIC: Final = _FIRST_DYNAMIC - 1

_NEVER_INDEXED: Final = frozenset({b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"})


class CompressionError(ProtocolError):
    """A header block cannot be decoded, so the connection cannot continue (RFC 9113 section 4.3)."""

    error_code = ErrorCodes.COMPRESSION_ERROR


class BlockDecoder:
    """Decodes the header blocks of one direction of a connection.

    @ivar max_header_list_size: the maximum size of a decoded header list in bytes.
    @ivar max_allowed_table_size: the maximum size of the dynamic table.
    """

    def __init__(self, max_header_list_size: int) -> None:
        self.max_header_list_size = max_header_list_size
        self.max_allowed_table_size = TABLE_SIZE
        # The oldest entry first. A deque would reserve 64 places on each connection.
        self._table: list[Header] = []
        self._size = 0
        self._max_size = TABLE_SIZE

    def decode(self, data: bytes) -> list[Header]:
        """Decode one block.

        @raise CompressionError: if it is not valid.
        @raise CalmError: if the list is over the limit.
        """
        try:
            return self._decode(data)
        except (IndexError, HPACKDecodingError) as error:
            raise CompressionError("a header block cannot be decoded") from error

    def _decode(self, data: bytes) -> list[Header]:
        fields: list[Header] = []
        at, end, budget, updates = 0, len(data), self.max_header_list_size, 0
        table = self._table
        while at < end:
            byte = data[at]
            at += 1
            if byte & 0x80:
                index = byte & 0x7F
                if index == 0x7F:
                    index, at = _integer(data, at, index)
                if index < _FIRST_DYNAMIC:
                    field = _STATIC[index]
                    if not index:
                        raise CompressionError("a field has the index 0")
                else:
                    field = table[_LAST_STATIC - index]
            elif byte & 0xE0 == 0x20:
                updates += 1
                if fields or updates > _MAX_SIZE_UPDATES:
                    raise CompressionError("the table size changes within a header block")
                size, at = _integer(data, at, byte & 0x1F) if byte & 0x1F == 0x1F else (byte & 0x1F, at)
                self._resize(size)
                continue
            else:
                mask = 0x3F if byte & 0x40 else 0x0F
                index = byte & mask
                if index == mask:
                    index, at = _integer(data, at, index)
                if index:
                    name = _STATIC[index][0] if index < _FIRST_DYNAMIC else table[_LAST_STATIC - index][0]
                else:
                    name, at = _string(data, at)
                value, at = _string(data, at)
                field = (name, value)
                if byte & 0x40:
                    self._add(field)
            budget -= len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
            if budget < 0:
                raise CalmError(f"a header list is over {self.max_header_list_size} bytes")
            fields.append(field)
        return fields

    def _resize(self, size: int) -> None:
        if size > self.max_allowed_table_size:
            raise CompressionError("the table size is over the limit")
        self._max_size = size
        self._evict()

    def _add(self, field: Header) -> None:
        self._table.append(field)
        self._size += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        # An entry that is larger than the table empties it (RFC 7541 section 4.4).
        self._evict()

    def _evict(self) -> None:
        while self._size > self._max_size:
            name, value = self._table.pop(0)
            self._size -= len(name) + len(value) + ENTRY_OVERHEAD


def _integer(data: bytes, at: int, prefix: int) -> tuple[int, int]:
    """Decode an integer that exceeds its prefix (RFC 7541 section 5.1).

    @param at: the position after the prefix.
    @param prefix: the value of the prefix.
    @return: the integer, and the position after it.
    """
    number = prefix
    for shift in range(0, 7 * _MAX_INTEGER_BYTES, 7):
        byte = data[at]
        at += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise CompressionError("an integer is too long")


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """Decode a string (RFC 7541 section 5.2); return it with the position after it."""
    byte = data[at]
    at += 1
    length = byte & 0x7F
    if length == 0x7F:
        length, at = _integer(data, at, length)
    end = at + length
    if end > len(data):
        raise CompressionError("a header block is truncated")
    text = data[at:end]
    return (decode_huffman(text) if byte & 0x80 else text), end


def _encoded_integer(number: int, prefix_bits: int, flags: int = 0) -> bytes:
    limit = (1 << prefix_bits) - 1
    if number < limit:
        return bytes((flags | number,))
    encoded = bytearray((flags | limit,))
    number -= limit
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SHORT: Final = tuple(_encoded_integer(number, 7) for number in range(256))
_INDEXED: Final = {field: _encoded_integer(index, 7, 0x80) for index, field in enumerate(_STATIC) if index}
_NAMES: Final[dict[bytes, bytes]] = {}
for _index, (_name, _value) in enumerate(_STATIC):
    if _index:
        _NAMES.setdefault(_name, _encoded_integer(_index, 4, 0x10 if _name in _NEVER_INDEXED else 0))


def _length(size: int) -> bytes:
    return _SHORT[size] if size < 256 else _encoded_integer(size, 7)


class BlockEncoder:
    """Encodes the header blocks of one direction of a connection.

    @ivar header_table_size: the limit that the peer sets for the dynamic table, which stays empty.
    """

    def __init__(self) -> None:
        self.header_table_size = TABLE_SIZE
        self._first = True

    def encode(self, fields: Iterable[Header]) -> bytes:
        """Encode one block."""
        parts: list[bytes] = []
        if self._first:
            # The table has the size 0, whatever the peer permits (RFC 7541 section 4.2).
            self._first = False
            parts.append(b"\x20")
        for field in fields:
            indexed = _INDEXED.get(field)
            if indexed is not None:
                parts.append(indexed)
                continue
            name, value = field
            prefix = _NAMES.get(name)
            if prefix is None:
                parts += (b"\x00", _length(len(name)), name, _length(len(value)), value)
            else:
                parts += (prefix, _length(len(value)), value)
        return b"".join(parts)
