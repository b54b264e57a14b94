"""Tests for L{egress.policy.match.message_view}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from egress.grpc.descriptors import Descriptors
from egress.model.message import Direction, Message, MessageKind
from egress.policy.match.json_body import NOTHING, UNREADABLE, Document
from egress.policy.match.message_view import MessageView
from egress.policy.match.work_budget import TooMuchWork
from tests.authz.protocols.requests import changed
from tests.grpc.descriptor_sets import descriptor_set, user

TYPES = Descriptors([descriptor_set()])
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

    def grpc(self, content: bytes, method: str = "Chat", kind: bytes = b"application/grpc", **facts: Any) -> Any:
        """The fields of a gRPC message."""
        headers = ((b"Content-Type", kind),)
        request = changed(method="POST", path=f"/users.v1.Users/{method}", headers=headers, body=content)
        message = attrs.evolve(MESSAGE, kind=MessageKind.GRPC, type="message", **facts)
        found = MessageView(request, message, TYPES).grpc
        return None if found is None else found.value

    def test_grpc(self) -> None:
        """The fields of a message, by the type of its direction."""
        self.assertEqual(self.grpc(user(name="ann"))["name"], "ann")
        self.assertEqual(self.grpc(b"", method="Upload")["name"], "")
        self.assertEqual(self.grpc(user(id=7), direction=Direction.ORIGIN)["id"], 7)
        self.assertIsNone(self.grpc(b"\xff"))
        self.assertIsNone(self.grpc(b"", method="Other"))
        self.assertIsNone(self.grpc(b"", method="Get/x"))
        self.assertIsNone(self.grpc(b"", kind=b"application/grpc+json"))
        self.assertIsNone(self.view(b"").grpc)
        with self.assertRaises(TooMuchWork):
            self.grpc(user(name="x" * 500_000))

    def test_json(self) -> None:
        self.assertIsInstance(self.view(b'{"a": 1}').json, Document)
        self.assertIs(self.view(b"{").json, UNREADABLE)
        self.assertIs(self.view(b"").json, NOTHING)
        with self.assertRaises(TooMuchWork):
            self.view(b"[" + b"1," * 20_000 + b"1]").json  # noqa: B018 - the property raises
