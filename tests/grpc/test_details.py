"""Tests for L{egress.grpc.details}."""

from __future__ import annotations

import base64
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.details import ErrorInfo, encode_binary, encode_status
from egress.grpc.status import StatusCode


def fields(message: bytes) -> list[tuple[int, Any]]:
    """Return the fields of a Protocol Buffers message with numbers and bytes."""

    def varint() -> int:
        nonlocal message
        number = shift = 0
        while True:
            byte, message = message[0], message[1:]
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    found: list[tuple[int, Any]] = []
    while message:
        key = varint()
        value: Any = varint()
        if key & 7 == 2:
            value, message = message[:value], message[value:]
        found.append((key >> 3, value))
    return found


class StatusDetailsTests(SynchronousTestCase):
    """The serialized messages."""

    def test_status(self) -> None:
        info = ErrorInfo("DENIED", {"requestId": "1-2", "ruleId": "no-é"})
        message = "é" * 100
        status = fields(encode_status(StatusCode.PERMISSION_DENIED, message, info))
        self.assertEqual([number for number, _ in status], [1, 2, 3])
        self.assertEqual(status[0][1], 7)
        self.assertEqual(status[1][1].decode("utf-8"), message)
        detail = dict(fields(status[2][1]))
        self.assertEqual(detail[1], b"type.googleapis.com/google.rpc.ErrorInfo")
        reason, domain, *metadata = fields(detail[2])
        self.assertEqual((reason, domain), ((1, b"DENIED"), (2, b"egressproxy")))
        self.assertEqual(
            [(number, fields(entry)) for number, entry in metadata],
            [(3, [(1, b"requestId"), (2, b"1-2")]), (3, [(1, b"ruleId"), (2, "no-é".encode())])],
        )

    def test_long_message(self) -> None:
        status = dict(fields(encode_status(StatusCode.INTERNAL, "x" * 9000, ErrorInfo("A", {}))))
        self.assertEqual(len(status[2]), 1024)

    def test_binary_value(self) -> None:
        self.assertEqual(encode_binary(b"a"), base64.b64encode(b"a")[:2])
