"""Tests for L{egress.policy.message_rules}."""

from __future__ import annotations

from typing import Any

import attrs

from egress.grpc.descriptors import Descriptors
from egress.model.decision import Decision, Stage, Verdict
from egress.model.message import Direction, Message, MessageKind
from egress.policy.check.grpc_types import with_descriptors
from egress.policy.match.message_view import MessageView
from egress.policy.message_rules import MessageRuleTrace
from egress.policy.rules import RuleSet
from tests.grpc.descriptor_sets import descriptor_set, user
from tests.policy.policies import PolicyTestCase, parse, request

POLICY = """version = 1
[[rules]]
name = "other"
action = "allow"
hosts = ["other.test"]
[[rules]]
name = "chat"
action = "allow"
hosts = ["chat.test"]
[rules.messages]
{}
"""


class MessageRulesTests(PolicyTestCase):
    """Decisions on messages."""

    def decide(self, rules: str, content: bytes | str = "", *, of: str | None = "chat", **facts: Any) -> Decision:
        """Decide on a message."""
        self.policy: RuleSet = parse(POLICY.format(rules))
        message = Message(MessageKind.WEBSOCKET, Direction.CLIENT, "text", 1, of)
        body = content.encode() if isinstance(content, str) else content
        self.request = attrs.evolve(
            request("GET", "https://chat.test/socket"),
            stage=Stage.MESSAGE,
            body=body,
            content_length=len(body),
            message=attrs.evolve(message, **facts),
        )
        return self.policy.decide(self.request)

    def verdict(self, conditions: str, content: bytes | str = "", *, action: str = "deny", **facts: Any) -> bool:
        """Whether one rule with these conditions matches."""
        default = "allow" if action == "deny" else "deny"
        rules = (
            f"default = '{default}'\n[[rules.messages.rules]]\naction = '{action}'\nreason = 'because'\n{conditions}"
        )
        decision = self.decide(rules, content, **facts)
        self.assertEqual(decision.policy_version, self.policy.policy_version)
        matched = decision.rule_id == "chat/rule-1"
        self.assertIs(decision.verdict.value == action, matched)
        return matched

    def test_the_first_rule_that_matches_decides(self) -> None:
        rules = (
            "[[rules.messages.rules]]\nname = 'a'\naction = 'deny'\nreason = 'no {host} for {rule}'\ntext = ['a*']\n"
            "[[rules.messages.rules]]\nname = 'b'\naction = 'allow'\ntext = ['*b']"
        )
        for content, verdict, rule, reason in (
            ("ab", Verdict.DENY, "chat/a", "no chat.test for chat/a"),
            ("b", Verdict.ALLOW, "chat/b", "allowed by the message rule b"),
            ("c", Verdict.DENY, "chat/default", "no message rule of chat allows this websocket message of the client"),
        ):
            decision = self.decide(rules, content)
            self.assertEqual((decision.verdict, decision.rule_id, decision.reason), (verdict, rule, reason))
            self.assertEqual((decision.ttl, decision.decided_by), (None, self.policy.name))
        decision = self.decide(f"default = 'allow'\n{rules}", "c")
        self.assertEqual(decision.verdict, Verdict.ALLOW)
        self.assertIn("no message rule of chat denies", decision.reason)

    def test_senders_protocols_and_types(self) -> None:
        for action in ("allow", "deny"):
            for conditions, facts, expected in (
                ("", {}, True),
                ("directions = ['client']", {}, True),
                ("directions = ['origin']", {}, False),
                ("kinds = ['sse', 'websocket']", {}, True),
                ("kinds = ['grpc']", {}, False),
                ("types = ['text']", {}, True),
                ("types = ['binary', 'add-*']", {}, False),
                ("types = ['binary', 'add-*']", {"type": "add-user"}, True),
                ("types = ['text']", {"type": "TEXT"}, action == "deny"),
            ):
                with self.subTest(conditions, action=action):
                    self.assertIs(self.verdict(conditions, action=action, **facts), expected)

    def test_sizes(self) -> None:
        for conditions, expected in (
            ("max_size = 4", False),
            ("max_size = 5", True),
            ("min_size = 5", True),
            ("min_size = '6B'", False),
            ("min_size = 5\nmax_size = 5", True),
        ):
            self.assertIs(self.verdict(conditions, "12345"), expected, conditions)

    def test_text(self) -> None:
        for conditions, content, denied, allowed in (
            ("text = ['*secret*']", "a\nsecret\n", True, True),
            ("text = ['*secret*']", "a Secret", True, False),
            ("text = ['re:[0-9]+', 'x']", "12", True, True),
            ("text = ['re:[0-9]+', 'x']", "12a", False, False),
            ("text = ['x']", b"\xff", True, False),
        ):
            self.assertIs(self.verdict(conditions, content), denied, conditions)
            self.assertIs(self.verdict(conditions, content, action="allow"), allowed, conditions)

    def test_json(self) -> None:
        for content, denied, allowed in (
            ('{"action": "delete"}', True, True),
            ('{"action": "read"}', False, False),
            ('{"Action": "Delete"}', True, False),
            ('{"action": "read", "action": "delete"}', True, False),
            ("{", True, False),
            ("", False, False),
        ):
            self.assertIs(self.verdict('json = { "action" = "delete" }', content), denied, content)
            self.assertIs(self.verdict('json = { "action" = "delete" }', content, action="allow"), allowed, content)

    def test_too_much_work(self) -> None:
        rules = "default = 'allow'\n[[rules.messages.rules]]\nname = 'a'\naction = 'deny'\nreason = 'x'\n"
        for conditions, words in (
            ("json = { a = 1 }", "its JSON"),
            (f"text = {['*x*y'] * 50}", "its text of"),
            (f"types = {['*x*y'] * 50}", "its type of"),
        ):
            decision = self.decide(rules + conditions, "[" + "1," * 20_000 + "1]", type="t" * 20_000)
            self.assertEqual((decision.verdict, decision.rule_id), (Verdict.DENY, "chat/default"))
            self.assertIn(f"too much work to compare with the rule chat/a: {words}", decision.reason)
            self.assertEqual(self.policy.trace_message(self.request)[0].failed, "work")
            self.assertEqual(decision.policy_version, self.policy.policy_version)

    def test_a_policy_that_changed(self) -> None:
        """The rule that allowed the exchange no longer exists, has no message rules, or is for other hosts."""
        for rule in (None, "other", "gone"):
            decision = self.decide("default = 'allow'", of=rule)
            self.assertEqual((decision.verdict, decision.rule_id), (Verdict.DENY, "default"))
            self.assertIn("no longer has message rules", decision.reason)
            self.assertEqual(decision.policy_version, self.policy.policy_version)
        self.assertEqual(self.policy.trace_message(self.request), ())
        self.decide("default = 'allow'")
        elsewhere = attrs.evolve(self.request, origin=request("GET", "https://else.test/").origin)
        self.assertEqual(self.policy.decide(elsewhere).verdict, Verdict.DENY)

    def test_trace(self) -> None:
        rules = (
            "[[rules.messages.rules]]\nname = 'a'\naction = 'deny'\nreason = 'x'\ntext = ['a']\n"
            "[[rules.messages.rules]]\nname = 'b'\naction = 'allow'\n[[rules.messages.rules]]\naction = 'allow'"
        )
        self.decide(rules, "b")
        self.assertEqual(
            self.policy.trace_message(self.request),
            (
                MessageRuleTrace("chat/a", Verdict.DENY, "text", "p.toml:11"),
                MessageRuleTrace("chat/b", Verdict.ALLOW, None, "p.toml:16"),
            ),
        )
        message = self.request.message
        assert message is not None
        rule = self.policy.rules[1].messages
        assert rule is not None
        self.assertEqual(len(rule.trace(MessageView(attrs.evolve(self.request, body=b"a"), message), "chat")), 1)

    def test_the_obligation(self) -> None:
        self.decide("default = 'allow'")
        decision = self.policy.decide(request("GET", "https://chat.test/"))
        assert decision.obligations.messages is not None
        self.assertEqual(decision.obligations.messages.directions, frozenset(Direction))

    def test_tunnels_have_no_messages(self) -> None:
        self.decide("default = 'allow'")
        self.assertEqual(self.policy.decide(request("CONNECT", "https://chat.test")).verdict, Verdict.DENY)


class FieldsTests(PolicyTestCase):
    """Conditions on the fields of gRPC messages."""

    def test_fields(self) -> None:
        for action, default in (("allow", "deny"), ("deny", "allow")):
            rules = f"default = '{default}'\n[[rules.messages.rules]]\naction = '{action}'\nreason = 'x'\n"
            policy = with_descriptors(
                parse(POLICY.format(rules + "fields = { name = 'ann', 'manager.id' = 7 }")),
                Descriptors([descriptor_set()]),
            )
            for content, kind, matched in (
                (user(name="ann", manager={"id": 7}), MessageKind.GRPC, True),
                (user(name="ann"), MessageKind.GRPC, False),
                (b"\xff", MessageKind.GRPC, action == "deny"),
                (user(name="ann", manager={"id": 7}), MessageKind.WEBSOCKET, False),
            ):
                call = request(
                    "POST", "https://chat.test/users.v1.Users/Chat", headers=[("Content-Type", "application/grpc")]
                )
                message = Message(kind, Direction.CLIENT, "message", 1, "chat")
                found = attrs.evolve(call, stage=Stage.MESSAGE, body=content, message=message)
                decision = policy.decide(found)
                self.assertEqual(decision.rule_id == "chat/rule-1", matched, (action, content))
                failed = policy.trace_message(found)[0].failed
                self.assertEqual(failed, None if matched else "fields")
