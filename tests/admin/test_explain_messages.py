"""Tests for L{egress.admin.explain_messages}."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import succeed

from egress.model.decision import Obligations, Verdict
from egress.model.explanation import RuleTried
from egress.model.message import Direction, Message, MessageKind, MessageObligation
from tests.admin.test_explain import ExplainTestCase
from tests.authz.fakes import ALLOW, Scripted

POLICY = """
version = 1
[[rules]]
name = "plain"
action = "allow"
paths = ["/plain"]
[[rules]]
name = "chat"
action = "allow"
[rules.messages]
directions = ["client"]
max_size = 10
[[rules.messages.rules]]
name = "words"
action = "deny"
reason = "mind your words"
text = ["no"]
[[rules.messages.rules]]
name = "others"
action = "allow"
"""


class MessageTests(ExplainTestCase):
    """The step C{message}."""

    def about(self, text: str, path: str = "", direction: Direction = Direction.CLIENT) -> Any:
        """Explain a message."""
        (self.directory / "policy.toml").write_text(POLICY)
        message = Message(MessageKind.WEBSOCKET, direction, "text", 1)
        return self.explain("GET", f"http://a.test/{path}", message=(message, text.encode()))

    def test_allowed(self) -> None:
        found = self.about("yes")
        self.assertEqual((found.verdict, found.rule_id), ("allow", "chat"))
        step = self.step(found, "message")
        self.assertEqual(step.outcome, "ok")
        self.assertTrue(step.text.startswith("allow, by rule chat/others of policy "), step.text)
        words, others = step.rules
        self.assertEqual(words, RuleTried("chat/words", "deny", False, "text", words.where))
        self.assertEqual(others, RuleTried("chat/others", "allow", True, None, others.where))

    def test_denied(self) -> None:
        found = self.about("no")
        self.assertEqual((found.verdict, found.rule_id, found.status), ("deny", "chat/words", None))
        self.assertEqual((found.code, found.reason), ("message-denied", "mind your words"))
        self.assertEqual([step.name for step in found.steps][-1], "message")

    def test_too_large(self) -> None:
        found = self.about("x" * 11)
        self.assertEqual((found.verdict, found.reason), ("deny", "the message is longer than 10 bytes"))

    def test_messages_that_pass(self) -> None:
        for path, direction, words in (
            ("plain", Direction.CLIENT, "does not require message decisions"),
            ("", Direction.ORIGIN, "messages of the origin are not authorized"),
        ):
            found = self.about("no", path, direction)
            self.assertEqual(found.verdict, "allow")
            self.assertIn(words, self.step(found, "message").text)

    def test_no_decision(self) -> None:
        """A message has no approval."""
        required = attrs.evolve(ALLOW, obligations=Obligations(messages=MessageObligation()))
        answers = [required, attrs.evolve(ALLOW, verdict=Verdict.ASK)]
        service = self.service(Scripted(lambda: succeed(answers.pop(0) if answers else None)))
        message = (Message(MessageKind.SSE, Direction.ORIGIN, "add", 1), b"x")
        found = self.explain("GET", "http://a.test/", service=service, message=message)
        self.assertEqual((found.verdict, found.code), ("none", "authorizer-unavailable"))
        self.assertEqual(self.step(found, "message").outcome, "failed")

    def test_a_decision_without_a_rule(self) -> None:
        required = attrs.evolve(ALLOW, obligations=Obligations(messages=MessageObligation()))
        answers = [required, ALLOW]
        service = self.service(Scripted(lambda: succeed(answers.pop(0) if answers else None)))
        message = (Message(MessageKind.SSE, Direction.ORIGIN, "add", 1), b"x")
        found = self.explain("GET", "http://a.test/", service=service, message=message)
        self.assertEqual(self.step(found, "message").text, "allow, by x: yes")
