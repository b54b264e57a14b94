"""Responses of the kernel to netlink messages."""

from __future__ import annotations

import struct


def acknowledgement(sequence: int, result: int) -> bytes:
    """Return the kernel's acknowledgement of a message: the result, and the header of the message."""
    return struct.pack("=IHHIIi16x", 36, 2, 0, sequence, 0, result)
