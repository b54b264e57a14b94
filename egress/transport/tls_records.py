"""The boundaries of TLS records in the data that a socket receives."""

from __future__ import annotations

from typing import Final

# The size of a record header: its type, a version, and the length of the record.
_RECORD_HEADER: Final = 5
# The number of records that are decrypted in one turn of the reactor. Bulk data has records of 16 KiB, 16 per read; a
# client may also send thousands of one-byte records, or key update messages, in one read.
MAX_RECORDS: Final = 64


class Records:
    """Tracks the record boundaries of a TLS connection (RFC 8446 section 5.1), to detect reads that are one record.

    @ivar taken: the number of bytes of the last read that belong to the first L{MAX_RECORDS} records. The caller must
        pass the rest again.
    """

    __slots__ = ("_head", "_missing", "taken")

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0
        self.taken = 0

    def is_single_record(self, data: bytes) -> bool:
        """Process the next read, up to L{taken} bytes.

        @return: whether the read is exactly one complete record.
        """
        self.taken = length = len(data)
        if (
            not self._missing
            and not self._head
            and length > _RECORD_HEADER
            and (data[3] << 8 | data[4]) + _RECORD_HEADER == length
        ):
            return True
        position, records = self._missing, 0
        while position < length or self._head:
            if records == MAX_RECORDS:
                self.taken = position
                self._missing = 0
                return False
            records += 1
            head = self._head + data[position : position + _RECORD_HEADER - len(self._head)]
            if len(head) < _RECORD_HEADER:
                self._head = head
                self._missing = 0
                return False
            position += _RECORD_HEADER - len(self._head) + (head[3] << 8 | head[4])
            self._head = b""
        self._missing = position - length
        return False
