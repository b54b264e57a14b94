"""Tests for L{egress.model.explanation}."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from egress.model.explanation import MAX_BODY, ExplainRequest, Explanation, InvalidExplainRequest, RuleTried, Step
from egress.model.message import Direction, Message, MessageKind


def _message(kind: MessageKind, direction: Direction, name: str) -> Message:
    return Message(kind, direction, name, 1)


class ExplainRequestTests(SynchronousTestCase):
    """Explain requests as JSON."""

    def test_parse(self) -> None:
        for document, expected in (
            ({"method": "GET", "url": "http://a.test/"}, ExplainRequest("GET", "http://a.test/")),
            (
                {
                    "method": "POST",
                    "url": "http://a.test/é",
                    "headers": [["A", "b"], ["C", ""]],
                    "body": "/w==",
                    "bodyEncoding": "base64",
                    "client": "ann",
                    "connect": True,
                    "ask": False,
                },
                ExplainRequest("POST", "http://a.test/é", ((b"A", b"b"), (b"C", b"")), b"\xff", "ann", True, False),
            ),
            ({"method": "PUT", "url": "x", "body": "é"}, ExplainRequest("PUT", "x", (), "é".encode())),
            (
                {"method": "GET", "url": "x", "message": "é"},
                ExplainRequest(
                    "GET", "x", message=(_message(MessageKind.WEBSOCKET, Direction.CLIENT, "text"), "é".encode())
                ),
            ),
            (
                {"method": "GET", "url": "x", "message": "", "messageKind": "sse"},
                ExplainRequest("GET", "x", message=(_message(MessageKind.SSE, Direction.ORIGIN, "message"), b"")),
            ),
            (
                {
                    "method": "GET",
                    "url": "x",
                    "message": "m",
                    "messageKind": "grpc",
                    "messageDirection": "origin",
                    "messageType": "add",
                },
                ExplainRequest("GET", "x", message=(_message(MessageKind.GRPC, Direction.ORIGIN, "add"), b"m")),
            ),
        ):
            with self.subTest(document):
                self.assertEqual(ExplainRequest.parse(document), expected)
                self.assertEqual(ExplainRequest.parse(json.loads(json.dumps(expected.to_json()))), expected)

    def test_secrets(self) -> None:
        explain_request = ExplainRequest("GET", "x", ((b"Authorization", b"hunter2"),), b"hunter2")
        self.assertNotIn("hunter2", repr(explain_request))

    def test_rejected(self) -> None:
        good = {"method": "GET", "url": "x"}
        documents: tuple[Any, ...] = (
            None,
            [],
            {},
            {**good, "novel": 1},
            *({**good, "method": value} for value in (None, 1, "", "GET\r\nA: b", "\ud800")),
            *({**good, "url": value} for value in (None, "a\nb", "x" * 20000)),
            *({**good, "client": value} for value in (1, "a\0b")),
            *({**good, "connect": value} for value in (None, 1, "yes")),
            {**good, "ask": 0},
            {**good, "headers": {}},
            *({**good, "headers": value} for value in ("A: b", [1], [["a"]], [["a", "b", "c"]], [["a", 1]])),
            *({**good, "headers": value} for value in ([["", "b"]], [["a", "b\r\nc: d"]], [["a", "b"]] * 257)),
            *({**good, "body": value} for value in (1, "\ud800", "x" * (MAX_BODY + 1))),
            {**good, "body": "x", "bodyEncoding": "gzip"},
            {**good, "body": "!", "bodyEncoding": "base64"},
            {**good, "message": 1},
            {**good, "messageType": "text"},
            {**good, "message": "x", "messageType": "a\nb"},
            {**good, "message": "x", "messageKind": "ws"},
            {**good, "message": "x", "messageDirection": []},
            {**good, "body": "é", "bodyEncoding": "base64"},
        )
        for document in documents:
            with self.subTest(str(document)[:80]):
                self.assertTrue(str(self.assertRaises(InvalidExplainRequest, ExplainRequest.parse, document)))


class ExplanationTests(SynchronousTestCase):
    """Explanations as JSON."""

    def test_json(self) -> None:
        rule = RuleTried("r", "deny", False, "hosts", "policy.toml:3")
        explanation = Explanation(
            "GET", "x", (Step("a", "ok", "b", 0.25), Step("c", "no", "d", 1e-9, ("e",), (rule,))), "deny", "why", "me"
        )
        self.assertEqual(
            explanation.to_json(),
            {
                "method": "GET",
                "url": "x",
                "verdict": "deny",
                "reason": "why",
                "decidedBy": "me",
                "ruleId": None,
                "status": None,
                "code": None,
                "steps": [
                    {"name": "a", "outcome": "ok", "text": "b", "seconds": 0.25, "details": []},
                    {
                        "name": "c",
                        "outcome": "no",
                        "text": "d",
                        "seconds": 0.0,
                        "details": ["e"],
                        "rules": [
                            {
                                "ruleId": "r",
                                "verdict": "deny",
                                "matched": False,
                                "failed": "hosts",
                                "where": "policy.toml:3",
                                "doubt": None,
                            }
                        ],
                    },
                ],
            },
        )
