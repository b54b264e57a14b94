"""Tests for L{egress.launch.isolate.messages}."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from egress.launch.isolate.messages import (
    Command,
    Failed,
    Ready,
    View,
    decode,
    decode_command,
    decode_view,
    encode,
    encode_command,
    encode_view,
)


class MessageTests(SynchronousTestCase):
    """What one side encodes, the other side decodes."""

    def test_messages(self) -> None:
        for sent in (Ready(["proxy", "dns_udp"]), Failed("mounts", 1, "/proc/\udcff: not permitted")):
            self.assertEqual(decode(encode(sent)), sent)

    def test_not_messages(self) -> None:
        for data in (b"", b"[]", b"{}", b'{"kind": "Command"}', b'{"kind": "Ready"}', b"\xff", b'{"kind": []}'):
            with self.subTest(data):
                self.assertRaises(ValueError, decode, data)

    def test_command(self) -> None:
        """Names and values that are not UTF-8 are preserved."""
        odd = os.fsdecode(b"\xff\n=")
        command = Command(f"/bin/{odd}", ["sh", odd], {"A": odd, odd: ""}, [odd])
        self.assertEqual(decode_command(encode_command(command)), command)

    def test_view(self) -> None:
        for view in (View(None, []), View(["/a", "/\udcff"], ["/b"]), View([], [])):
            self.assertEqual(decode_view(encode_view(view)), view)
