"""Tests for L{tests.scorecard.socks_wire}: the messages that a SOCKS client receives."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.scorecard.socks_wire import LOGIN, NO_METHOD, SOCKS4, Conversation, reply

SUCCEEDED = b"\5\0\0\1" + bytes(6)


class ConversationTests(SynchronousTestCase):
    """Conversations, whole and incomplete."""

    def test_over(self) -> None:
        for received, count, refusal, rest in (
            (b"\5\0" + SUCCEEDED, 2, "", b""),
            (b"\5\0" + SUCCEEDED + b"HTTP", 2, "", b"HTTP"),
            (b"\5\2\1\0" + SUCCEEDED, 3, "", b""),
            (b"\5\0\5\0\0\3\4name\0\1rest", 2, "", b"rest"),
            (b"\5\0\5\0\0\4" + bytes(18) + b"rest", 2, "", b"rest"),
            (b"\5\0\5\2\0\1" + bytes(6), 2, reply(2), b""),
            (b"\5\2\1\1", 2, LOGIN, b""),
            (b"\5\xff", 1, NO_METHOD, b""),
            (b"\0\x5b" + bytes(6), 1, SOCKS4, b""),
        ):
            with self.subTest(received):
                found = Conversation(received)
                self.assertEqual((found.count, found.refusal, found.rest), (count, refusal, rest))
                self.assertTrue(found.over)

    def test_not_over(self) -> None:
        for received, count in (
            (b"", 0),
            (b"\5", 0),
            (b"\5\0", 1),
            (b"\5\2\1", 1),
            (b"\5\2\1\0", 2),
            (b"\5\0" + SUCCEEDED[:4], 1),
            (b"\5\0" + SUCCEEDED[:-1], 1),
            (b"\0\x5b", 0),
            (b"HTTP/1.1 400 Bad Request\r\n", 0),
        ):
            with self.subTest(received):
                found = Conversation(received)
                self.assertEqual((found.count, found.refusal, found.over), (count, "", False))
