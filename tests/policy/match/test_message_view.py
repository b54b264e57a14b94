"""Tests for L{egress.policy.match.message_view}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from egress.model.message import Direction, Message, MessageKind
from egress.policy.match.json_body import NOTHING, UNREADABLE, Document
from egress.policy.match.message_view import MessageView
from egress.policy.match.work_budget import TooMuchWork
from tests.authz.protocols.requests import changed

MESSAGE = Message(MessageKind.WEBSOCKET, Direction.CLIENT, "text", 1)


class ViewTests(SynchronousTestCase):
    """The content of a message."""

    def view(self, content: bytes | None) -> MessageView:
        """The view of a message."""
        return MessageView(changed(body=content), MESSAGE)

    def test_text(self) -> None:
        self.assertEqual(self.view("ä".encode()).text, "ä")
        self.assertIsNone(self.view(b"\xff").text)
        self.assertEqual(self.view(None).text, "")

    def test_json(self) -> None:
        self.assertIsInstance(self.view(b'{"a": 1}').json, Document)
        self.assertIs(self.view(b"{").json, UNREADABLE)
        self.assertIs(self.view(b"").json, NOTHING)
        with self.assertRaises(TooMuchWork):
            self.view(b"[" + b"1," * 20_000 + b"1]").json  # noqa: B018 - the property raises
