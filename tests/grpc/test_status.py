"""Tests for L{egress.grpc.status}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.status import StatusCode, decode_message, encode_message, parse_status, shorten


class StatusTests(SynchronousTestCase):
    """Codes and messages of statuses."""

    def test_codes(self) -> None:
        self.assertEqual([code.value for code in StatusCode], list(range(17)))
        self.assertIs(parse_status(b"7"), StatusCode.PERMISSION_DENIED)
        for value in (b"", b"17", b"07", b"-1", b"OK"):
            self.assertIsNone(parse_status(value))

    def test_messages(self) -> None:
        for text, encoded in {
            "no rule allows it": b"no rule allows it",
            "100 %": b"100 %25",
            "a\r\nb": b"a%0D%0Ab",
            "~\x7fé": b"~%7F%C3%A9",
            "": b"",
        }.items():
            self.assertEqual(encode_message(text), encoded)
            self.assertEqual(decode_message(encoded), text)

    def test_no_message_fails(self) -> None:
        self.assertEqual(encode_message("\ud800"), b"?")
        self.assertEqual(decode_message(b"100 %, %zz, %FF"), "100 %, %zz, �")

    def test_long_messages(self) -> None:
        self.assertEqual(shorten("x" * 1024), "x" * 1024)
        self.assertEqual(shorten("x" * 1025), "x" * 1021 + "...")
        self.assertEqual(encode_message("é" * 5000), b"%C3%A9" * 1021 + b"...")
